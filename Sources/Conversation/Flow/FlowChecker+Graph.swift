internal import AurumCore

// Paths: every step reachable, every path able to end, no loop without a question, nothing used before it is set.
extension FlowChecker {
    func checkGraph() {
        let reachable = reach(from: [flow.start]) { flow.steps[$0]?.targets ?? [] }
        for step in orderedSteps where !reachable.contains(step.id) {
            sink.report(.unreachableStep, step.position, "no path reaches \(step.id)")
        }
        var sources: [String: [String]] = [:]
        for step in flow.steps.values { for target in step.targets { sources[target, default: []].append(step.id) } }
        let ends = flow.steps.values.filter { if case .end = $0.kind { true } else { false } }.map(\.id)
        let ending = reach(from: ends) { sources[$0] ?? [] }
        for step in orderedSteps where reachable.contains(step.id) && !ending.contains(step.id) {
            sink.report(.noPathToEnd, step.position, "\(step.id) cannot reach an end")
        }
        for step in orderedSteps where !step.waits {
            let silent = reach(from: step.targets) { name in
                flow.steps[name].map { $0.waits ? [] : $0.targets } ?? []
            }
            if silent.contains(step.id) {
                sink.report(.cycleWithoutAsk, step.position, "\(step.id) repeats without asking anything")
            }
        }
    }

    private func reach(from roots: [String], _ next: (String) -> [String]) -> Set<String> {
        var seen: Set<String> = []
        var open = roots
        while let name = open.popLast() { if seen.insert(name).inserted { open += next(name) } }
        return seen
    }

    /// Forward analysis: which names are set on every path that leads to a step.
    func checkDataflow() {
        let before = namesSetBeforeSteps()
        for step in orderedSteps {
            guard let known = before[step.id] else { continue }
            for text in step.texts { checkPlaceholders(text, known, step) }
            switch step.kind {
            case .branch(let cases, _):
                var atCase = known
                for one in cases {
                    for use in one.condition.comparisons(known: atCase) where !use.known.contains(use.name) {
                        if type(of: use.name) != nil {
                            sink.report(.mayBeUnset, one.position, "\(use.name) may be unset here")
                        }
                    }
                    if case .not(let inner) = one.condition { atCase.formUnion(inner.setWhenTrue) }
                }
            case .call(let call):
                guard let function = functions.functions[call.function], call.onFailure == nil else { continue }
                for name in function.inputs.keys.sorted() where !known.contains(name) {
                    sink.report(.callNeedsOnFailure, step.position, "\(name) may be unset and there is no onFailure")
                }
            case .say, .ask, .consent, .offer, .end: break
            }
        }
    }

    private func checkPlaceholders(_ text: String, _ known: Set<String>, _ step: FlowStep) {
        guard let words = flow.texts[text] else { return }
        let names = Set(words.byLanguage.values.flatMap(Template.placeholders))
        for name in names.subtracting(Self.builtInPlaceholders).sorted() {
            if type(of: name) == nil {
                sink.report(.unknownSlot, words.position, "\(text) uses unknown {\(name)}")
            } else if !known.contains(name) {
                sink.report(.mayBeUnset, step.position, "\(text) uses {\(name)}, which may be unset here")
            }
        }
    }

    private func namesSetBeforeSteps() -> [String: Set<String>] {
        var before: [String: Set<String>] = [flow.start: []]
        var open = [flow.start]
        while let name = open.popLast() {
            guard let step = flow.steps[name], let known = before[name] else { continue }
            for (target, set) in edges(step, known) {
                let merged = before[target].map { $0.intersection(set) } ?? set
                if merged != before[target] {
                    before[target] = merged
                    open.append(target)
                }
            }
        }
        return before
    }

    /// What is set along each way out of a step.
    private func edges(_ step: FlowStep, _ known: Set<String>) -> [(String, Set<String>)] {
        switch step.kind {
        case .say(_, let next): return [(next, known)]
        case .ask(let ask):
            let certain = ask.skippable ? [] : ask.slots
            return [(ask.next, certain.reduce(into: known) { $0.formUnion(namesSet(by: $1)) })]
        case .branch(let cases, let otherwise):
            var rest = known
            var result: [(String, Set<String>)] = []
            for one in cases {
                result.append((one.target, rest.union(one.condition.setWhenTrue)))
                if case .not(let inner) = one.condition { rest.formUnion(inner.setWhenTrue) }
            }
            return result + [(otherwise, rest)]
        case .call(let call):
            let outputs = functions.functions[call.function]?.outputs.keys.map { $0 } ?? []
            return [(call.next, known.union(outputs))] + (call.onFailure.map { [($0, known)] } ?? [])
        case .consent(let consent): return [(consent.next, known), (consent.onDecline, known)]
        case .offer(_, let replies): return replies.map { ($0.target, known) }
        case .end: return []
        }
    }

    /// The slot itself and the facts that its validator sets.
    private func namesSet(by slot: String) -> Set<String> {
        let facts = flow.slot(slot)?.validator.flatMap { functions.validators[$0] }?.facts.keys.map { $0 } ?? []
        return Set(facts).union([slot])
    }
}
