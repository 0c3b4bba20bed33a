import Foundation
import Testing

/// The rules of the house, held to the sources.
struct TidyTests {
    /// Which floor a target stands on; imports point down only. Targets of one floor do not import each other.
    private static let floors: [String: Int] = [
        "CAssets": -1, "CPostgres": -1, "CProcessor": -1, "CZlib": -1, "CZstd": -1, "AurumCore": 0,
        "Telemetry": 1,
        "Database": 2, "Events": 3, "Runtime": 3,
        "Accounts": 4, "Attribution": 4, "Conversation": 4, "Leads": 4, "Solar": 5, "Benchmarks": 6, "Connectors": 6,
        "Gateway": 6, "Validation": 6, "aurum": 7,
    ]
    /// Where a package of others may be imported.
    private static let homes: [String: Set<String>] = [
        "GRDB": ["Database"], "CPostgres": ["Database"], "Hummingbird": ["Gateway", "Validation"],
        "HummingbirdCore": ["Gateway"],
        "AsyncHTTPClient": ["Connectors", "Validation", "aurum"], "Yams": ["Conversation"], "Mustache": ["Gateway"],
        "ArgumentParser": ["aurum"], "Configuration": ["aurum"], "Histogram": ["Validation"],
    ]

    @Test func `imports point down the floors only`() throws {
        for file in try Source.all(under: "Sources") where file.path.hasSuffix(".swift") {
            let target = file.target
            let floor = try #require(Self.floors[target], "target \(target) has no floor")
            for module in file.imports {
                if let other = Self.floors[module] {
                    #expect(other < floor, "\(file.path) imports \(module)")
                    if target == "Validation" { #expect(module == "AurumCore", "\(file.path) imports \(module)") }
                }
                if let homes = Self.homes[module] { #expect(homes.contains(target), "\(file.path) imports \(module)") }
            }
        }
    }

    @Test func `the manifest names every target and no edge goes up`() throws {
        let manifest = try Source.text("Package.swift")
        for target in Self.floors.keys where target != "CAssets" && !target.hasPrefix("CZ") {
            #expect(manifest.contains("name: \"\(target)\""), "\(target) is not in the manifest")
        }
        for folder in try FileManager.default.contentsOfDirectory(atPath: Source.root + "/Sources") {
            #expect(Self.floors[folder] != nil, "Sources/\(folder) has no floor")
        }
    }

    @Test func `files and functions stay short`() throws {
        var longFunctions: [String] = []
        for file in try Source.all(under: "Sources") + Source.all(under: "Tests") where file.path.hasSuffix(".swift") {
            let limit = file.path.hasPrefix("Tests/") ? 800 : 600
            #expect(file.lines.count <= limit, "\(file.path) has \(file.lines.count) lines")
            guard file.path.hasPrefix("Sources/") else { continue }
            for function in file.functions where function.lines > 70 {
                longFunctions.append("\(file.path): \(function.name)")
            }
            for (index, line) in file.lines.enumerated() where line.count > 120 {
                Issue.record("\(file.path):\(index + 1) is longer than 120 characters")
            }
        }
        #expect(longFunctions == Self.functionsStillTooLong, "shorten these, or take the shortened ones off the list")
    }

    /// May only shrink.
    private static let functionsStillTooLong: [String] = []

    @Test func `nobody writes what the house forbids`() throws {
        let forbidden = [
            "try!", "fatalError(", "TODO", "FIXME", "XXX", "HACK", "as! ", "Thread.sleep", "usleep(",
            "readabilityHandler =",
        ]
        for file in try Source.all(under: "Sources") where file.path.hasSuffix(".swift") {
            for (index, line) in file.lines.enumerated() {
                for word in forbidden where line.contains(word) {
                    Issue.record("\(file.path):\(index + 1) has \(word)")
                }
                if file.target != "Database", line.contains("\\(unsafe:") {
                    Issue.record("\(file.path):\(index + 1) splices text into a statement")
                }
                if file.target != "aurum", line.contains("ProcessInfo.processInfo.environment") {
                    Issue.record("\(file.path):\(index + 1) reads the environment")
                }
            }
            for name in ["Utils", "Helpers", "Common", "Models"] {
                #expect(!file.path.contains("/\(name)/"), "\(file.path) lies in \(name)")
            }
        }
    }

    @Test func `every file of the assets is in the binary`() throws {
        let list = try #require(Source.all(under: "Sources/CAssets").first { $0.path.hasSuffix("/assets.c") }).text
        let files = try Source.all(under: "Sources/CAssets/files").filter { !$0.path.hasSuffix(".md") }
        #expect(files.count > 50)
        for file in files {
            let name = file.path.replacing("Sources/CAssets/", with: "")
            #expect(list.contains("\"\(name)\""), "\(name) is not in assets.c")
        }
    }

    @Test func `texts of commands leave the breaking of lines to whoever shows them`() throws {
        let opening = ["abstract: \"\"\"", "discussion: \"\"\"", "help: \"\"\""]
        var looked = 0
        for file in try Source.all(under: "Sources/aurum") where file.path.hasSuffix(".swift") {
            let lines = file.lines
            for (first, line) in lines.enumerated() where opening.contains(where: line.hasSuffix) {
                let end = lines[(first + 1)...].firstIndex { $0.contains("\"\"\"") } ?? lines.endIndex
                looked += 1
                for index in (first + 1)..<max(first + 1, end - 1) {
                    let text = lines[index].trimmingCharacters(in: .whitespaces)
                    // What a paragraph's end looks like, or a line of its own: an example, a list that is put in.
                    let isWhole =
                        text.isEmpty || text.hasSuffix(".") || text.hasSuffix("\\") || text.hasPrefix("Example:")
                        || text.hasPrefix("\\(")
                    #expect(isWhole, "\(file.path):\(index + 1) breaks a sentence: end it with a backslash")
                }
            }
        }
        #expect(looked > 20)
    }

    @Test func `statement names are unique`() throws {
        var seen: [String: String] = [:]
        let pattern = try Regex(#"\.(?:read|write)\(\s*"([a-zA-Z.]+)""#)
        for file in try Source.all(under: "Sources") where file.path.hasSuffix(".swift") {
            for match in file.text.matches(of: pattern) {
                guard let name = match.output[1].substring.map(String.init), name.contains(".") else { continue }
                if let other = seen[name] { Issue.record("\(name) is used in \(other) and in \(file.path)") }
                seen[name] = file.path
            }
        }
        #expect(seen.count > 10)
    }

    @Test func `a migration that takes something away names the one that made it needless`() throws {
        var withoutHeader: [String] = []
        for file in try Source.all(under: "Sources/CAssets/files/migrations") {
            let name = file.path.split(separator: "/").last.map(String.init) ?? ""
            let version = try #require(Int(name.prefix(4)), "\(name) has no version")
            guard Self.takesAway(file.text) else { continue }
            let header = try Regex<(Substring, Substring)>(#"(?m)^-- contract: (\d{4})$"#)
            guard let expand = file.text.firstMatch(of: header).flatMap({ Int($0.output.1) }) else {
                withoutHeader.append(name)
                continue
            }
            #expect(expand < version, "\(name) contracts \(expand), which is not before it")
        }
        #expect(withoutHeader == Self.contractsWithoutHeader, "add -- contract: NNNN, and ship it one release later")
        for word in [
            "DROP TABLE a;", "ALTER TABLE a RENAME TO b;", "ALTER TABLE a ADD COLUMN b TEXT NOT NULL;",
            "alter table a alter column b type smallint;", "ALTER TABLE a ALTER COLUMN b SET NOT NULL;",
        ] { #expect(Self.takesAway(word), "\(word)") }
        for word in [
            "-- drop", "CREATE TABLE a (b TEXT NOT NULL);", "INSERT INTO a VALUES ('drop table');",
            "ALTER TABLE a ADD COLUMN b TEXT NOT NULL DEFAULT '';\nCREATE TABLE c (d TEXT);",
        ] { #expect(!Self.takesAway(word), "\(word)") }
    }

    /// Whether an older release may stumble over what a migration leaves: DROP, RENAME, another type, or NOT NULL where
    /// nothing fills it.
    private static func takesAway(_ sql: String) -> Bool {
        let code = sql.replacing(/--[^\n]*/, with: "").replacing(/'[^']*'/, with: "''").uppercased()
        return code.contains(/\b(DROP|RENAME)\b/) || code.contains(/\bALTER\s+COLUMN\s+\S+\s+(SET\s+DATA\s+)?TYPE\b/)
            || code.contains(/\bSET\s+NOT\s+NULL\b/)
            || code.split(separator: ";").contains { statement in
                statement.contains(/\bADD\s+COLUMN\b/) && statement.contains(/\bNOT\s+NULL\b/)
                    && !statement.contains(/\bDEFAULT\b/)
            }
    }

    /// May only shrink: 0130 is older than the rule.
    private static let contractsWithoutHeader = ["0130_attribution_models.sql"]

    @Test func `the map of modules has a paragraph for every target`() throws {
        let map = try Source.text("docs/MODULES.md")
        for target in Self.floors.keys { #expect(map.contains("**`\(target)`**"), "docs/MODULES.md lacks \(target)") }
    }

    @Test func `the README is short and its commands exist`() throws {
        let readme = try Source.text("README.md")
        #expect(readme.split(separator: "\n", omittingEmptySubsequences: false).count < 150)
        let makefile = try Source.text("Makefile")
        for match in readme.matches(of: /make ([a-z-]+)/) {
            #expect(makefile.contains("\n\(match.output.1):"), "make \(match.output.1) does not exist")
        }
    }

    @Test func `nothing of this machine is in the tree`() throws {
        let forbidden = ["/wor" + "k/main", "/opt/swi" + "ft", "/ro" + "ot/", "/tmp/au" + "rum"]
        for folder in ["Sources", "Tests", "docs", "scripts", "packaging"] {
            for file in try Source.all(under: folder) where !file.path.contains("/vendor/") && file.isText {
                for word in forbidden { #expect(!file.text.contains(word), "\(file.path) has \(word)") }
            }
        }
    }
}

/// A file of the repository.
private struct Source {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path

    let path: String
    let text: String
    let isText: Bool

    var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
    var target: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }

    var imports: [String] {
        lines.compactMap { line in
            let words = line.trimmingCharacters(in: .whitespaces).split(separator: " ")
            guard let at = words.firstIndex(of: "import"), at <= 1, words.count > at + 1 else { return nil }
            return words[at + 1].split(separator: ".").first.map(String.init)
        }
    }

    /// Functions with the number of lines from their first to the closing brace on the same indentation.
    var functions: [(name: String, lines: Int)] {
        var found: [(String, Int)] = []
        let all = lines
        for (index, line) in all.enumerated() {
            let indent = line.prefix { $0 == " " }.count
            let body = line.dropFirst(indent)
            guard body.contains("func ") || body.hasPrefix("init") || body.contains(" init("), !body.hasPrefix("//"),
                !body.hasPrefix("case"), !body.contains("\""), !body.hasSuffix("}")
            else { continue }
            let closing = String(repeating: " ", count: indent) + "}"
            // One that its protocol's end comes before has no body.
            let ends = all[index...].firstIndex { $0.hasSuffix("}") && closing.hasPrefix($0.dropLast()) }
            guard let end = ends, all[end] == closing else { continue }
            let name = body.split(separator: "(").first.map(String.init) ?? ""
            found.append((name, end - index + 1))
        }
        return found
    }

    static func text(_ path: String) throws -> String { try String(contentsOfFile: root + "/" + path, encoding: .utf8) }

    static func all(under folder: String) throws -> [Source] {
        let base = root + "/" + folder
        guard let walker = FileManager.default.enumerator(atPath: base) else { return [] }
        return try walker.compactMap { $0 as? String }.sorted().compactMap { name in
            var isFolder: ObjCBool = false
            guard FileManager.default.fileExists(atPath: base + "/" + name, isDirectory: &isFolder),
                !isFolder.boolValue
            else { return nil }
            let data = try Data(contentsOf: URL(fileURLWithPath: base + "/" + name))
            let text = String(data: data, encoding: .utf8)
            return Source(path: folder + "/" + name, text: text ?? "", isText: text != nil)
        }
    }
}
