import Gateway
import NIOCore
import NIOEmbedded
import Testing

/// Peers that do not take part are let go; everybody else is left alone.
struct SlowPeerTests {
    private func channel() throws -> (EmbeddedChannel, SlowPeerGuard) {
        let peer = SlowPeerGuard(head: .seconds(20), write: .seconds(60))
        let channel = EmbeddedChannel(handler: peer)
        try channel.connect(to: try SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        return (channel, peer)
    }

    @Test func `a connection without a head is closed when its time is up, and not before`() throws {
        let (channel, _) = try channel()
        channel.embeddedEventLoop.advanceTime(by: .seconds(19))
        #expect(channel.isActive)
        try channel.writeInbound(ByteBuffer(string: "POST /v1/ev"))
        channel.embeddedEventLoop.advanceTime(by: .seconds(1))
        #expect(!channel.isActive, "bytes that are no whole head win no time")
    }

    @Test func `a connection whose head came stays`() throws {
        let (channel, peer) = try channel()
        peer.headArrived()
        channel.embeddedEventLoop.advanceTime(by: .seconds(3600))
        #expect(channel.isActive)
        _ = try channel.finish()
    }

    @Test func `a peer that reads nothing is closed, one that reads in time is not`() throws {
        let (channel, peer) = try channel()
        peer.headArrived()
        func writable(_ isWritable: Bool) {
            channel.isWritable = isWritable
            channel.pipeline.fireChannelWritabilityChanged()
        }
        writable(false)
        channel.embeddedEventLoop.advanceTime(by: .seconds(59))
        writable(true)
        channel.embeddedEventLoop.advanceTime(by: .seconds(600))
        #expect(channel.isActive)
        writable(false)
        channel.embeddedEventLoop.advanceTime(by: .seconds(60))
        #expect(!channel.isActive)
    }
}

struct BodyBudgetTests {
    @Test func `bodies are taken up to the bound and then refused`() {
        let budget = BodyBudget(bytesMax: 1000)
        #expect(budget.check(announced: 5000, holder: "a") == nil, "one body always fits an idle process")
        #expect(budget.take(600, holder: "a") == nil)
        #expect(budget.check(announced: 500, holder: "b") == .full)
        #expect(budget.check(announced: .max, holder: "b") == .full, "senders may announce anything")
        #expect(budget.check(announced: .max, holder: "a") == .full)
        #expect(budget.take(500, holder: "b") == .full)
        #expect(budget.take(400, holder: "b") == nil)
        #expect(budget.bytes == 1000)
        budget.give(600, holder: "a")
        #expect(budget.bytes == 400)
        #expect(budget.take(600, holder: "c") == nil)
    }

    @Test func `one sender takes everything while it is alone and half when others wait`() {
        let budget = BodyBudget(bytesMax: 1000)
        for _ in 0..<9 { #expect(budget.take(100, holder: "a") == nil) }
        for _ in 0..<5 { budget.give(100, holder: "a") }
        #expect(budget.take(100, holder: "b") == nil)
        #expect(budget.take(100, holder: "a") == nil)
        #expect(budget.take(100, holder: "a") == .share)
        #expect(budget.take(300, holder: "b") == nil)
        budget.give(400, holder: "b")
        #expect(budget.take(100, holder: "a") == nil, "alone again")
    }

    @Test func `what is given back by many at once leaves nothing behind`() async {
        let budget = BodyBudget(bytesMax: 1 << 30)
        await withTaskGroup(of: Void.self) { group in
            for sender in 0..<8 {
                group.addTask {
                    for size in 1...1000 where budget.take(size, holder: "s\(sender % 3)") == nil {
                        budget.give(size, holder: "s\(sender % 3)")
                    }
                }
            }
        }
        #expect(budget.bytes == 0)
    }
}
