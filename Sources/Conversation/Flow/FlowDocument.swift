internal import AurumCore
internal import Yams

/// A parsed YAML file, reduced to what flows may use: mappings, lists and plain words, each with its place.
///
/// Anchors, aliases, tags and merge keys are refused, so that what is written is what is meant.
indirect enum FlowNode: Sendable {
    case scalar(String, FlowPosition)
    case list([FlowNode], FlowPosition)
    case mapping([(key: String, at: FlowPosition, value: FlowNode)], FlowPosition)

    var position: FlowPosition {
        switch self {
        case .scalar(_, let position), .list(_, let position), .mapping(_, let position): position
        }
    }

    /// Canonical form: comments, quoting and layout do not matter, order does.
    var canonical: JSONValue {
        switch self {
        case .scalar(let text, _): .string(text)
        case .list(let items, _): .array(items.map(\.canonical))
        case .mapping(let members, _):
            .array(["map"] + members.map { .array([.string($0.key), $0.value.canonical]) })
        }
    }
}

/// Collects problems of one file, so that all are reported together.
final class FlowProblemSink {
    let file: String
    private(set) var problems: [FlowProblem] = []

    init(file: String) { self.file = file }

    func report(_ code: FlowProblem.Code, _ position: FlowPosition, _ detail: String) {
        problems.append(
            FlowProblem(code: code, file: file, line: position.line, column: position.column, detail: detail))
    }
}

/// Turns YAML text into nodes.
struct FlowDocument {
    /// Nesting a file may have.
    private static let depthMax = 12
    private let sink: FlowProblemSink

    /// The root of `text`, or nil after reporting why there is none.
    static func root(of text: String, sink: FlowProblemSink) -> FlowNode? {
        do {
            let parser = try Parser(yaml: text, resolver: .basic)
            return try withExtendedLifetime(parser) {
                guard let node = try parser.singleRoot() else {
                    sink.report(.invalidYAML, FlowPosition(line: 1, column: 1), "the file is empty")
                    return nil
                }
                return FlowDocument(sink: sink).convert(node, depth: 0)
            }
        } catch let error as YamlError {
            report(error, sink)
        } catch {
            sink.report(.invalidYAML, FlowPosition(line: 1, column: 1), "unreadable")
        }
        return nil
    }

    private static func report(_ error: YamlError, _ sink: FlowProblemSink) {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            sink.report(.invalidYAML, FlowPosition(line: mark.line, column: mark.column), problem)
        case .duplicatedKeysInMapping(let duplicates, let context):
            sink.report(
                .duplicateKey, FlowPosition(line: context.mark.line, column: context.mark.column),
                duplicates.joined(separator: ", "))
        case .no, .memory, .reader, .writer, .emitter, .representer, .dataCouldNotBeDecoded:
            sink.report(.invalidYAML, FlowPosition(line: 1, column: 1), "unreadable")
        }
    }

    private func convert(_ node: Node, depth: Int) -> FlowNode {
        let mark = node.mark
        let position = FlowPosition(line: mark?.line ?? 1, column: mark?.column ?? 1)
        if node.anchor != nil { sink.report(.unsupportedYAML, position, "anchors and aliases are not allowed") }
        guard depth <= Self.depthMax else {
            sink.report(.unsupportedYAML, position, "nested too deeply")
            return .scalar("", position)
        }
        switch node {
        case .scalar(let scalar):
            if !["", "!", "tag:yaml.org,2002:str"].contains(node.tag.rawValue) {
                sink.report(.unsupportedYAML, position, "tags are not allowed")
            }
            return .scalar(scalar.string, position)
        case .sequence(let sequence):
            return .list(sequence.map { convert($0, depth: depth + 1) }, position)
        case .mapping(let mapping):
            return .mapping(
                mapping.map { key, value in
                    let keyPosition = FlowPosition(line: key.mark?.line ?? 1, column: key.mark?.column ?? 1)
                    guard case .scalar(let scalar) = key, scalar.string != "<<" else {
                        sink.report(.unsupportedYAML, keyPosition, "merge keys and complex keys are not allowed")
                        return (key: "", at: keyPosition, value: .scalar("", keyPosition))
                    }
                    return (key: scalar.string, at: keyPosition, value: convert(value, depth: depth + 1))
                }, position)
        case .alias:
            sink.report(.unsupportedYAML, position, "aliases are not allowed")
            return .scalar("", position)
        }
    }
}

/// A mapping being read: knows which keys it may have and reports what is missing, unknown or of the wrong shape.
struct FlowFields {
    let position: FlowPosition
    private let members: [String: FlowNode]
    private let sink: FlowProblemSink

    /// `node` as a mapping whose keys are among `allowed` and hold all of `required`.
    init?(_ node: FlowNode, allowed: [String], required: [String] = [], sink: FlowProblemSink) {
        guard case .mapping(let members, let position) = node else {
            sink.report(.wrongType, node.position, "a mapping is wanted")
            return nil
        }
        for member in members where !allowed.contains(member.key) {
            sink.report(.unknownKey, member.at, "unknown key \(member.key)")
        }
        for key in required where !members.contains(where: { $0.key == key }) {
            sink.report(.missingKey, position, "\(key) is missing")
        }
        self.position = position
        self.sink = sink
        self.members = Dictionary(members.map { ($0.key, $0.value) }, uniquingKeysWith: { first, _ in first })
    }

    subscript(key: String) -> FlowNode? { members[key] }

    func string(_ key: String) -> String? { members[key].flatMap { FlowFields.string($0, sink) } }

    /// One word or a list of words.
    func strings(_ key: String) -> [String] { members[key].map { FlowFields.strings($0, sink) } ?? [] }

    func bool(_ key: String, default fallback: Bool) -> Bool {
        guard let node = members[key], let text = FlowFields.string(node, sink) else { return fallback }
        if text == "true" { return true }
        if text != "false" { sink.report(.wrongType, node.position, "\(key) wants true or false") }
        return false
    }

    func integer(_ key: String) -> Int64? {
        guard let node = members[key], let text = FlowFields.string(node, sink) else { return nil }
        if let value = Int64(text) { return value }
        sink.report(.wrongType, node.position, "\(key) wants a whole number")
        return nil
    }

    static func string(_ node: FlowNode, _ sink: FlowProblemSink) -> String? {
        if case .scalar(let text, _) = node { return text }
        sink.report(.wrongType, node.position, "one value is wanted")
        return nil
    }

    static func strings(_ node: FlowNode, _ sink: FlowProblemSink) -> [String] {
        switch node {
        case .scalar(let text, _): return [text]
        case .list(let items, _): return items.compactMap { string($0, sink) }
        case .mapping:
            sink.report(.wrongType, node.position, "a value or a list of values is wanted")
            return []
        }
    }
}
