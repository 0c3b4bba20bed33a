/// Finds the rows of some persons in one block after the other. One thread.
///
/// Who a row is about is looked at once for each person that a dictionary names, so that a block costs little more than
/// reading its column of persons.
package struct PersonRows {
    private static let dictionariesMax = 64
    private let org: String
    /// After merges.
    private let persons: Set<UInt64>
    private let resolver: any PersonResolver
    private let isMerged: Bool
    /// By list of keys: one byte a code, 1 where it stands for one of the persons.
    private var known: [Int: [UInt8]] = [:]

    package init(org: String, persons: Set<UInt64>, resolver: any PersonResolver) {
        (self.org, self.persons, self.resolver) = (org, persons, resolver)
        isMerged = resolver.version != 0
    }

    /// The rows of the persons, whatever their outcome, ascending.
    /// - Parameter last: rows that came into the log after it are left out.
    package mutating func rows(_ block: any ColumnBlock, through last: LogPosition) throws -> [UInt32] {
        let people = try block.persons(org: org)
        if known.count > Self.dictionariesMax { known = [:] }
        var verdicts = known.removeValue(forKey: people.id) ?? []
        for code in stride(from: verdicts.count, to: people.keys.count, by: 1) {
            let key = people.keys[code]
            let isWanted = key != 0 && persons.contains(isMerged ? resolver.person(key) : key)
            verdicts.append(isWanted ? 1 : 0)
        }
        var found: [UInt32] = []
        for request in block.requests where request.org == org {
            let end = min(request.firstRow + request.rowCount, people.codes.count)
            for row in stride(from: request.firstRow, to: end, by: 1) {
                let code = Int(people.codes[row])
                guard code != 0, code < verdicts.count, verdicts[code] == 1, block.position(row) <= last else {
                    continue
                }
                found.append(UInt32(truncatingIfNeeded: row))
            }
        }
        known[people.id] = verdicts
        return found.sorted()
    }
}

extension ColumnBlock {
    /// The rows that carry an event id, duplicates and rows that nobody may see any more among them, ascending.
    package func rows(ofEvent id: String) throws -> [UInt32] {
        if let block = (self as? MemoBlock)?.inner as? DecodedBlock ?? self as? DecodedBlock {
            return try block.rows(of: WantedID(id)).map { UInt32(truncatingIfNeeded: $0) }
        }
        guard let ids = try text(ColumnName("id")) else { return [] }
        return ids.codes.indices.filter { ids.codes[$0] != 0 && ids.dictionary.text(ids.codes[$0]) == id }
            .map { UInt32(truncatingIfNeeded: $0) }
    }
}
