internal import AurumCore

/// The text of one flow file and the name under which its problems are reported.
package struct FlowSource: Sendable {
    package var name: String
    package var text: String

    package init(name: String, text: String) {
        self.name = name
        self.text = text
    }

    /// The embedded file `name`, for example `flows/solar.qualify.yaml`.
    package static func embedded(_ name: String) -> FlowSource { FlowSource(name: name, text: Asset.text(name)) }
}

/// All flows that may run, checked, and the functions they call.
package struct FlowCatalogue: Sendable {
    package let functions: FlowFunctions
    /// Texts of the engine itself: repairs, disclosure, hand-over.
    let core: CoreTexts
    private let current: [String: FlowDefinition]
    private let byHash: [String: FlowDefinition]

    /// Reads and checks every source. Later sources of one flow id replace earlier ones for new conversations; running
    /// ones find their version by hash.
    ///
    /// - Throws: every problem of every file, together.
    package init(sources: [FlowSource], functions: FlowFunctions) throws(FlowProblems) {
        var problems: [FlowProblem] = []
        var current: [String: FlowDefinition] = [:]
        var byHash: [String: FlowDefinition] = [:]
        let coreSink = FlowProblemSink(file: "flows/core.yaml")
        core = CoreTexts.read(FlowSource.embedded("flows/core.yaml").text, sink: coreSink)
        problems += coreSink.problems
        for source in sources {
            let sink = FlowProblemSink(file: source.name)
            if let flow = FlowReader.read(source.text, sink: sink) {
                if sink.problems.isEmpty { FlowChecker.check(flow, functions: functions, sink: sink) }
                current[flow.id] = flow
                byHash[flow.hash] = flow
            }
            problems += sink.problems
        }
        guard problems.isEmpty else { throw FlowProblems(problems: problems) }
        self.functions = functions
        self.current = current
        self.byHash = byHash
    }

    /// The version of `id` that new conversations get.
    package func flow(_ id: String) -> FlowDefinition? { current[id] }

    /// The version that a stored conversation began with.
    package func flow(hash: String) -> FlowDefinition? { byHash[hash] }

    package var flows: [FlowDefinition] { current.values.sorted { $0.id < $1.id } }
}
