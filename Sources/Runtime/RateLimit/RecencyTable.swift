/// A table with a bound that forgets what nobody has touched for longest, in two generations: a touch moves an entry to
/// the young one; when that is half the bound, the old one is dropped and the young one becomes it. Every operation
/// costs the same, however full it is.
struct RecencyTable<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private var young: [Key: Value] = [:]
    private var old: [Key: Value] = [:]
    private let youngMax: Int

    /// - Parameter entriesMax: two or more; at least half of it is always remembered.
    init(entriesMax: Int) {
        precondition(entriesMax > 1, "a table that holds nothing")
        youngMax = entriesMax / 2
    }

    var count: Int { young.count + old.count }

    /// What is remembered; touches nothing.
    func value(_ key: Key) -> Value? { young[key] ?? old[key] }

    /// Changes the value of a key, which begins as `start`.
    mutating func update<Result>(
        _ key: Key, default start: @autoclosure () -> Value, _ body: (inout Value) -> Result
    ) -> Result {
        if let index = young.index(forKey: key) { return body(&young.values[index]) }
        if young.count >= youngMax {
            old = young
            young = [:]
            young.reserveCapacity(youngMax)
        }
        var value = old.removeValue(forKey: key) ?? start()
        let result = body(&value)
        young[key] = value
        return result
    }
}
