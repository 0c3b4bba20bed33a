internal import Synchronization

/// The blocks of an archive that were read last: reading in the order of the log goes to and fro between them.
final class ArchiveBlocks: Sendable {
    private static let blocksMax = 24
    private let catalog: SegmentCatalog
    private let secret: InstallationSecret
    /// Least recently used first.
    private let recent = Mutex<[(number: Int, block: WholeBlock)]>([])

    init(_ catalog: SegmentCatalog, _ secret: InstallationSecret) { (self.catalog, self.secret) = (catalog, secret) }

    func block(_ number: Int) throws -> WholeBlock? {
        let known = recent.withLock { recent -> WholeBlock? in
            guard let place = recent.lastIndex(where: { $0.number == number }) else { return nil }
            let found = recent.remove(at: place)
            recent.append(found)
            return found.block
        }
        if let known { return known }
        guard let view = try catalog.view(catalog.entries[number].offset) else { return nil }
        let block = WholeBlock(try DecodedBlock(view, catalog: catalog, secret: secret))
        recent.withLock { recent in
            recent.append((number, block))
            if recent.count > Self.blocksMax { recent.removeFirst() }
        }
        return block
    }
}

/// A block with everything that was worked out of it, shared by the runs in it.
final class WholeBlock: Sendable {
    private struct State: Sendable {
        var types: [UInt8]?
        var texts: [ColumnName: TextColumn?] = [:]
        var numbers: [ColumnName: [Double]?] = [:]
        var values: [Int64]??
        var persons: [String: PersonColumn] = [:]
    }

    let block: DecodedBlock
    /// Whether its requests stand in the order of the log.
    let isOrdered: Bool
    private let state = Mutex(State())

    init(_ block: DecodedBlock) {
        self.block = block
        let view = block.view
        isOrdered = view.requests.indices.dropFirst().allSatisfy { !(view.origin($0) < view.origin($0 - 1)) }
    }

    func types() throws -> [UInt8] {
        if let known = state.withLock({ $0.types }) { return known }
        let types = try block.types()
        state.withLock { $0.types = types }
        return types
    }

    func text(_ column: ColumnName) throws -> TextColumn? {
        if let known = state.withLock({ $0.texts[column] }) { return known }
        let text = try block.text(column)
        state.withLock { $0.texts[column] = .some(text) }
        return text
    }

    func numbers(_ column: ColumnName) throws -> [Double]? {
        if let known = state.withLock({ $0.numbers[column] }) { return known }
        let numbers = try block.numbers(column)
        state.withLock { $0.numbers[column] = .some(numbers) }
        return numbers
    }

    func values() throws -> [Int64]? {
        if let known = state.withLock({ $0.values }) { return known }
        let values = try block.values()
        state.withLock { $0.values = .some(values) }
        return values
    }

    func persons(_ org: String) throws -> PersonColumn {
        if let known = state.withLock({ $0.persons[org] }) { return known }
        let persons = try block.persons(org: org)
        state.withLock { $0.persons[org] = persons }
        return persons
    }
}
