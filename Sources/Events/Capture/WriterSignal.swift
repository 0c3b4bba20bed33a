#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// How requests wake the writer thread: one lock, one condition, on the monotonic clock.
final class WriterSignal: @unchecked Sendable {  // every field only under `mutex`
    enum Wake { case commit, stop }

    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    /// Monotonic nanoseconds at which the first waiting request came; nil while none waits.
    private var firstAt: Int64?
    private var isUrgent = false
    private var isStopping = false

    init() {
        mutex = .allocate(capacity: 1)
        condition = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        #if canImport(Glibc)
            pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        #endif
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    private static var now: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    /// A request waits; `isUrgent` when its block is full.
    func notify(isUrgent: Bool) {
        pthread_mutex_lock(mutex)
        let isFirst = firstAt == nil
        if isFirst { firstAt = Self.now }
        if isUrgent { self.isUrgent = true }
        if isFirst || isUrgent { pthread_cond_signal(condition) }
        pthread_mutex_unlock(mutex)
    }

    func stop() {
        pthread_mutex_lock(mutex)
        isStopping = true
        pthread_cond_signal(condition)
        pthread_mutex_unlock(mutex)
    }

    /// Blocks until a request has waited for `delay` or a block is full, or until the end.
    func wait(delayNanoseconds: Int64) -> Wake {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while firstAt == nil, !isStopping { pthread_cond_wait(condition, mutex) }
        while let first = firstAt, !isUrgent, !isStopping {
            let deadline = first + delayNanoseconds
            guard Self.now < deadline else { break }
            var time = timespec(tv_sec: Int(deadline / 1_000_000_000), tv_nsec: Int(deadline % 1_000_000_000))
            pthread_cond_timedwait(condition, mutex, &time)
        }
        let hasWork = firstAt != nil
        firstAt = nil
        isUrgent = false
        return isStopping && !hasWork ? .stop : .commit
    }
}
