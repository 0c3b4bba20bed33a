internal import Synchronization
package import Telemetry

/// Subscribers of one process. What is published here is in every inbox before `publish` returns.
package final class MemoryPubSub: PubSub {
    private struct Subscriber: Sendable {
        let id: UInt64
        let subscription: PubSubSubscription
        let inbox: WeakInbox
    }

    /// A subscriber lives as long as its reader holds the sequence.
    private struct WeakInbox: Sendable {
        weak let inbox: PubSubInbox?
    }

    private struct State: Sendable {
        var next: UInt64 = 0
        var channels: [String: [Subscriber]] = [:]
        var patterns: [(pattern: GlobPattern, subscriber: Subscriber)] = []
    }

    private let state = Mutex(State())
    private let gaps: Counter
    private let subscriptions: Gauge

    package init(registry: MetricRegistry) {
        gaps = registry.counter(.pubSubGaps)
        subscriptions = registry.gauge(.pubSubSubscriptions)
    }

    package func hearing() -> ConditionChanges { .always(true) }

    package func publish(_ payload: [UInt8], to channel: String) throws(PubSubError) {
        guard payload.count <= PubSubLimits.payloadBytesMax else { throw .payloadTooLarge(bytes: payload.count) }
        deliver(payload, channel)
    }

    /// Puts a message into the inboxes that it fits.
    func deliver(_ payload: [UInt8], _ channel: String) {
        let fitting: [Subscriber] = state.withLock { state in
            var fitting = state.channels[channel] ?? []
            for (pattern, subscriber) in state.patterns where pattern.matches(channel.utf8) {
                fitting.append(subscriber)
            }
            return fitting
        }
        var gone: Set<UInt64> = []
        for subscriber in fitting {
            let message = PubSubMessage.message(
                channel: channel, subscription: subscriber.subscription, payload: payload)
            if subscriber.inbox.inbox?.put(message) != true { gone.insert(subscriber.id) }
        }
        if !gone.isEmpty { remove(gone) }
    }

    /// Tells every subscriber that messages may be missing.
    func mark(_ gap: PubSubGap) {
        let all = state.withLock { state in
            state.channels.values.flatMap(\.self) + state.patterns.map(\.subscriber)
        }
        var told: Set<UInt64> = []
        for subscriber in all where told.insert(subscriber.id).inserted { subscriber.inbox.inbox?.mark(gap) }
    }

    package func subscribe(_ subscriptions: [PubSubSubscription], whenFull: PubSubOverflow) -> PubSubMessages {
        let gaps = gaps
        let inbox = PubSubInbox(whenFull: whenFull) { _ in gaps.increment() }
        state.withLock { state in
            state.next += 1
            for subscription in Set(subscriptions) {
                let subscriber = Subscriber(
                    id: state.next, subscription: subscription, inbox: WeakInbox(inbox: inbox))
                switch subscription {
                case .channel(let name): state.channels[name, default: []].append(subscriber)
                case .pattern(let text): state.patterns.append((GlobPattern(text), subscriber))
                }
                self.subscriptions.add(1)
            }
        }
        return PubSubMessages(inbox: inbox)
    }

    private func remove(_ ids: Set<UInt64>) {
        state.withLock { state in
            for (name, subscribers) in state.channels {
                let left = subscribers.filter { !ids.contains($0.id) }
                guard left.count < subscribers.count else { continue }
                state.channels[name] = left.isEmpty ? nil : left
                self.subscriptions.add(Double(left.count - subscribers.count))
            }
            let patterns = state.patterns.count
            state.patterns.removeAll { ids.contains($0.subscriber.id) }
            self.subscriptions.add(Double(state.patterns.count - patterns))
        }
    }
}
