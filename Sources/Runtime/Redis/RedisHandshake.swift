/// What is said on a fresh connection before commands: protocol 3 if the server speaks it, who we are, which database.
/// Decides only; the connection sends.
struct RedisHandshake: Sendable {
    enum Action: Equatable, Sendable {
        case send(name: String, arguments: [String])
        case ready(protocolVersion: Int)
        case refused(Refusal)
    }

    /// Why a server that answers is of no use to us.
    enum Refusal: Error, Equatable, Sendable {
        /// Wrong user or password, or none where one is needed.
        case authentication(String)
        case sentinel
        /// A node of a cluster, but the configuration names one server.
        case clusterNode
        /// No node of a cluster, but the configuration names several hosts.
        case noClusterNode
        case other(String)

        var sentence: String {
            switch self {
            case .authentication(let text): "the server refused user or password: \(text)"
            case .sentinel:
                "this is a Sentinel, which is not supported: give the URL of one server, or the hosts of a cluster"
            case .clusterNode: "this server is a node of a cluster: give several of its hosts, separated by commas"
            case .noClusterNode: "several hosts were given, but this server is in no cluster"
            case .other(let text): "the server refused the connection: \(text)"
            }
        }
    }

    private enum Step { case hello, authenticate, name, select, done }

    let user: String?
    let password: String?
    let database: Int
    let expectsCluster: Bool
    private var step = Step.hello
    private var protocolVersion = 3

    init(user: String?, password: String?, database: Int, expectsCluster: Bool) {
        self.user = user
        self.password = password
        self.database = database
        self.expectsCluster = expectsCluster
    }

    static let clientName = "aurum"

    /// The first words.
    func start() -> Action {
        var arguments = ["3"]
        if let password { arguments += ["AUTH", user ?? "default", password] }
        return .send(name: "HELLO", arguments: arguments + ["SETNAME", Self.clientName])
    }

    mutating func received(_ value: RESPValue) -> Action {
        switch step {
        case .hello: return greeted(value)
        case .authenticate:
            if case .error(let error) = value { return .refused(.authentication(error.text)) }
            return nameOrSelect()
        case .name:
            // A server that knows no client names is none the worse for it.
            return selectOrReady()
        case .select:
            if case .error(let error) = value { return .refused(.other(error.text)) }
            return ready()
        case .done: return .refused(.other("an answer after the sign-in"))
        }
    }

    private mutating func greeted(_ value: RESPValue) -> Action {
        if case .error(let error) = value {
            switch error.code {
            case "WRONGPASS", "NOAUTH", "NOPERM": return .refused(.authentication(error.text))
            case "NOPROTO", "ERR":
                // Older than Redis 6, or told to speak RESP2 only.
                protocolVersion = 2
                guard let password else { return nameOrSelect() }
                step = .authenticate
                return .send(name: "AUTH", arguments: (user.map { [$0] } ?? []) + [password])
            default: return .refused(.other(error.text))
            }
        }
        let mode = value.pairs?.first { $0.key.string == "mode" }?.value.string
        switch mode {
        case "sentinel": return .refused(.sentinel)
        case "cluster" where !expectsCluster: return .refused(.clusterNode)
        case "standalone" where expectsCluster: return .refused(.noClusterNode)
        default: return selectOrReady()
        }
    }

    private mutating func nameOrSelect() -> Action {
        step = .name
        return .send(name: "CLIENT", arguments: ["SETNAME", Self.clientName])
    }

    private mutating func selectOrReady() -> Action {
        guard database != 0 else { return ready() }
        step = .select
        return .send(name: "SELECT", arguments: [String(database)])
    }

    private mutating func ready() -> Action {
        step = .done
        return .ready(protocolVersion: protocolVersion)
    }
}
