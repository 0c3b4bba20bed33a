/// Which person a key belongs to after merges.
package protocol PersonResolver: Sendable {
    /// The same key when it was never merged; `person(person(x)) == person(x)`.
    func person(_ key: UInt64) -> UInt64
    /// Changes with every merge; 0 while there is none at all.
    var version: Int { get }
}

/// Nobody was merged.
package struct UnmergedPersons: PersonResolver {
    package init() {}
    package func person(_ key: UInt64) -> UInt64 { key }
    package var version: Int { 0 }
}
