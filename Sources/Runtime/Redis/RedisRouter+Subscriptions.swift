internal import NIOCore
internal import Synchronization

/// Who listens where: channels and patterns at any node, since a cluster carries them everywhere, shard channels at the
/// node of their slot.
extension RedisRouter: RedisSubscriberObserver {
    func subscribe(_ listener: RedisListener) { place(listener, avoiding: nil) }

    func unsubscribe(_ id: UInt64) {
        let (homeless, subscriber) = state.withLock { state in
            (
                state.homeless.removeValue(forKey: id)?.listener,
                state.places.removeValue(forKey: id).flatMap { state.subscribers[$0] }
            )
        }
        homeless?.activity.end()
        subscriber?.remove(id)
    }

    func misplaced(_ listeners: [RedisListener], from subscriber: RedisSubscriber) {
        for listener in listeners { listener.activity.deactivate() }
        state.withLock { state in
            for var listener in listeners {
                if listener.wasActive { listener.gap = .moved }
                // One that was ended meanwhile has no place any more.
                guard state.places.removeValue(forKey: listener.id) != nil else { continue }
                state.homeless[listener.id] = (listener, subscriber.address)
            }
        }
        needsMap()
    }

    func clusterIsDown(at address: Address) { doubt(address) }

    func placeHomeless() {
        let homeless = state.withLock { state in
            defer { state.homeless = [:] }
            return Array(state.homeless.values)
        }
        for one in homeless { place(one.listener, avoiding: one.from) }
    }

    private func place(_ listener: RedisListener, avoiding left: Address?) {
        let (subscriber, isNew, hasEnded) = state.withLock { state -> (RedisSubscriber?, Bool, Bool) in
            guard !state.hasEnded else { return (nil, false, true) }
            guard state.hasMap, let address = address(listener, &state, left) else {
                state.homeless[listener.id] = (listener, left ?? settings.configuration.addresses[0])
                return (nil, false, false)
            }
            state.places[listener.id] = address
            if let subscriber = state.subscribers[address] { return (subscriber, false, false) }
            let subscriber = RedisSubscriber(
                eventLoop: group.next(), address: address, settings: settings, registry: registry, status: status,
                observer: self)
            state.subscribers[address] = subscriber
            return (subscriber, true, false)
        }
        if hasEnded {
            listener.continuation.finish()
            return listener.activity.end()
        }
        guard let subscriber else { return }
        if isNew { subscriber.start() }
        subscriber.add(listener)
    }

    private func address(_ listener: RedisListener, _ state: inout State, _ left: Address?) -> Address? {
        if let shard = listener.targets.first(where: { $0.kind == .shard }) {
            return state.map.owner(of: RedisSlot.of(shard.name))
        }
        let masters = state.map.masters
        let others = masters.filter { $0 != left }
        // A node that has subscribers of ours already is as good as any.
        return others.first { state.subscribers[$0] != nil } ?? others.first ?? masters.first
    }
}
