/// The persons of one organisation at one moment.
package final class PersonSnapshot: PersonResolver {
    let graph: IdentityGraph

    init(_ graph: IdentityGraph) { self.graph = graph }

    package var version: Int { graph.version }

    package func person(_ key: UInt64) -> UInt64 { graph.person(key) }
}
