package import AurumCore
internal import Synchronization

/// The frames of one watcher of the log, made as fast as they are taken and no faster. Ends when its task is
/// cancelled or `end` is called. One iterator a session.
package final class TailSession: AsyncSequence, Sendable {
    package typealias Element = String
    package typealias Failure = Never

    /// Between two looks at the log.
    static let pause: Duration = .milliseconds(25)
    private let feed: TailFeed
    private let org: String
    private let reader: TailReader
    private let wakes: AsyncStream<Void>
    private let number: Int
    private let hasLeft = Atomic(false)

    /// nil when the organisation's places are taken.
    /// - Parameter from: everything after it is handed out first; nil begins now.
    package init?(_ feed: TailFeed, filter: RowFilter, from: LogPosition?, clock: any WallClock) {
        guard feed.enter(filter.org) else { return nil }
        self.feed = feed
        org = filter.org
        reader = TailReader(feed, filter: filter, from: from, clock: clock)
        (wakes, number) = feed.wakes()
    }

    deinit { end() }

    /// Gives the place back; may be called more than once, from anywhere.
    package func end() {
        guard !hasLeft.exchange(true, ordering: .relaxed) else { return }
        feed.end(number)
        feed.leave(org)
    }

    package func makeAsyncIterator() -> Iterator { Iterator(session: self, wakes: wakes.makeAsyncIterator()) }

    package struct Iterator: AsyncIteratorProtocol {
        private let session: TailSession
        private var wakes: AsyncStream<Void>.Iterator
        private var ready: [String] = []
        private var taken = 0

        init(session: TailSession, wakes: AsyncStream<Void>.Iterator) {
            self.session = session
            self.wakes = wakes
        }

        package mutating func next() async -> String? {
            while taken >= ready.count {
                let reader = session.reader
                guard !Task.isCancelled, !session.hasLeft.load(ordering: .relaxed),
                    let step = try? await BlockingWork.value({ try reader.step() })
                else { return nil }
                ready = step.frames
                taken = 0
                if !ready.isEmpty { break }
                if let pause = step.pause {
                    if pause > .zero { guard (try? await Task.sleep(for: pause)) != nil else { return nil } }
                } else {
                    guard await wakes.next(isolation: #isolation) != nil,
                        (try? await Task.sleep(for: TailSession.pause)) != nil
                    else {
                        return nil
                    }
                }
            }
            taken += 1
            return ready[taken - 1]
        }
    }
}
