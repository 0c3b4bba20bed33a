internal import Synchronization

/// Which reads ask for one statement: those end their transaction with it and take one round trip. A read that asked
/// for more once is never taken for such a one again.
final class ReadHabits: Sendable {
    /// Whether reads of a name have asked for one statement each so far, by the address of the name.
    private let oneStatement = Mutex<[UInt: Bool]>([:])

    func isOneStatement(_ name: StaticString) -> Bool {
        oneStatement.withLock { $0[Self.key(name)] ?? false }
    }

    /// - Parameter statements: how many a read asked for; one that asked for none says nothing.
    func note(_ name: StaticString, statements: Int) {
        guard statements > 0 else { return }
        oneStatement.withLock { known in
            let key = Self.key(name)
            let isOne = statements == 1 && known[key] != false
            if known[key] != isOne { known[key] = isOne }
        }
    }

    /// Names are literals, of which the program has a fixed number.
    private static func key(_ name: StaticString) -> UInt {
        name.hasPointerRepresentation ? UInt(bitPattern: name.utf8Start) : UInt(name.unicodeScalar.value)
    }
}
