/// Every bound of the Redis client, by name (docs/runtime.md lists them for operators).
package enum RedisLimits {
    /// The longest text, and the largest count of an aggregate in bytes, that a server may declare.
    package static let declaredBytesMax = 64 << 20
    /// One whole reply with everything in it, in bytes on the wire.
    package static let replyBytesMax = 128 << 20
    /// Aggregates within aggregates.
    package static let nestingMax = 32
    /// Values in one reply, those of inner aggregates included.
    package static let elementsMax = 1 << 20
    /// A line that is no bulk text: simple texts, errors, numbers and lengths.
    package static let lineBytesMax = 64 << 10
    /// Connections to each node.
    package static let connectionsPerNode = 4
    /// Replies that one connection may owe; the next command is refused with `backpressure`.
    package static let inFlightMax = 4096
    /// Bytes that wait for one connection's socket; more is refused with `backpressure`.
    package static let queuedBytesMax = 64 << 20
    /// Redirections that one command follows in a cluster.
    package static let redirectsMax = 5
    /// Messages that wait for one slow subscriber; the next ones are dropped and reported as a gap.
    package static let subscriberMessagesMax = 4096
    /// Nodes of a cluster.
    package static let nodesMax = 1000
}
