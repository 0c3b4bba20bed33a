import Attribution
import AurumCore
import Crypto
import Database
import Foundation
import TestSupport
import Testing

struct PostbackTests {
    @Test func `the six vectors and the JWS are valid`() throws {
        for (name, body) in PostbackVectors.all {
            let postback = try PostbackVerifier.read(PostbackVectors.bytes(body))
            #expect(postback.verdict == .valid, "\(name): \(postback.reason)")
            #expect(postback.environment == .production && postback.version == body["version"]?.string)
        }
        let kit = try PostbackVerifier.read(
            PostbackVectors.bytes(["jws-string": .string(PostbackVectors.jws.joined(separator: "."))]))
        #expect(kit.verdict == .valid && kit.environment == .development, "\(kit.reason)")
        #expect(kit.keyID == "apple-development-identifier/1" && kit.sourceIdentifier == "1234")
        #expect(kit.transactionID == "85546EB7-FD39-44BC-8990-C98A4AC36A49")
        let tiers = try PostbackVectors.all.suffix(2).map { try PostbackVerifier.read(PostbackVectors.bytes($0.body)) }
        #expect(tiers.map(\.tier) == [3, 3] && tiers.map { $0.sourceIdentifier?.count } == [4, 2])
    }

    @Test func `changing, dropping or retyping any single signed field is invalid, any unsigned one is not`() throws {
        let unsigned: Set<String> = ["conversion-value", "coarse-conversion-value"]
        var tampered = 0
        for (name, body) in PostbackVectors.all {
            for (field, value) in body {
                if unsigned.contains(field) { continue }
                for other in Self.changes(of: value, field: field) {
                    var forged = body
                    forged[field] = other
                    let postback = try PostbackVerifier.read(PostbackVectors.bytes(forged))
                    #expect(postback.verdict != .valid, "\(name) with \(field) \(other?.canonical ?? "dropped")")
                    if field != "version" { #expect(postback.verdict == .invalid, "\(name) \(field)") }
                    tampered += 1
                }
            }
            let claims: [(String, JSONValue)] = [("conversion-value", 7), ("country-code", "US")]
            for (field, value) in claims {
                var claimed = body
                claimed[field] = value
                let postback = try PostbackVerifier.read(PostbackVectors.bytes(claimed))
                #expect(postback.verdict == .valid && postback.unsigned[field] == value, "\(name) \(field)")
            }
        }
        #expect(tampered > 150)
    }

    private static func changes(of value: JSONValue, field: String) -> [JSONValue?] {
        switch value {
        case .integer(let number): [.integer(number + 1), .string(String(number)), .number(0.5), .null, nil]
        case .bool(let flag): [.bool(!flag), .string(String(flag)), .integer(flag ? 1 : 0), nil]
        case .string(let text):
            [.string(text + "x"), .string(String(text.dropLast())), .string(""), .integer(1), nil]
        default: [nil]
        }
    }

    @Test func `fields cannot be moved across the separator, and sources exclude each other`() throws {
        var body = PostbackVectors.all[4].body
        body["ad-network-id"] = "com.example\u{2063}5239"
        #expect(try PostbackVerifier.read(PostbackVectors.bytes(body)).reason == "field_text:ad-network-id")
        body = PostbackVectors.all[4].body
        body["source-app-id"] = 1
        #expect(try PostbackVerifier.read(PostbackVectors.bytes(body)).reason == "field_excluded:source-domain")
    }

    @Test func `versions and keys that nobody here knows are unverifiable`() throws {
        for version in ["1.0", "2.0", "5.0", ""] {
            var body = PostbackVectors.all[0].body
            body["version"] = .string(version)
            #expect(try PostbackVerifier.read(PostbackVectors.bytes(body)).verdict == .unverifiable, "\(version)")
        }
        func kit(_ header: String, _ payload: String? = nil, _ signature: String? = nil) throws -> Postback {
            let parts = [
                PostbackVectors.base64URL(header), payload ?? PostbackVectors.jws[1],
                signature ?? PostbackVectors.jws[2],
            ]
            return try PostbackVerifier.read(
                PostbackVectors.bytes(["jws-string": .string(parts.joined(separator: "."))]))
        }
        #expect(try kit(#"{"kid":"apple-cas-identifier/9","alg":"ES256"}"#).verdict == .unverifiable)
        #expect(try kit(#"{"alg":"ES256"}"#).verdict == .unverifiable)
        for alg in ["none", "HS256", "ES384", "es256"] {
            let forged = try kit(#"{"kid":"apple-development-identifier/1","alg":"\#(alg)"}"#)
            #expect(forged.verdict == .invalid && forged.reason == "alg_not_es256")
        }
        for key in ["apple-cas-identifier/0", "apple-development-identifier/0"] {
            #expect(try kit(#"{"kid":"\#(key)","alg":"ES256"}"#).verdict == .invalid, "\(key)")
        }
    }

    @Test func `any change of a byte of the JWS is invalid`() throws {
        let whole = PostbackVectors.jws.joined(separator: ".")
        let bytes = Array(whole.utf8)
        var random = SeededRandom(seed: 8)
        for _ in 0..<400 {
            var changed = bytes
            let at = Int.random(in: 0..<bytes.count, using: &random)
            changed[at] = Array("ABCDEFGHabcdefgh0123-_.".utf8).randomElement(using: &random) ?? 65
            if changed == bytes { continue }
            let text = String(decoding: changed, as: UTF8.self)
            let postback = try PostbackVerifier.read(PostbackVectors.bytes(["jws-string": .string(text)]))
            #expect(postback.verdict != .valid, "byte \(at)")
        }
        for text in ["", "a", "a.b", "..", "e30.e30.", whole + ".", whole + "=", "%%%.e30.e30"] {
            let postback = try PostbackVerifier.read(PostbackVectors.bytes(["jws-string": .string(text)]))
            #expect(postback.verdict == .invalid, "\(text.prefix(10))")
        }
    }

    @Test func `what is no JSON object is refused in words`() throws {
        let bodies: [(String, PostbackError)] = [
            ("", .notJSON), ("{", .notJSON), ("[]", .notAnObject), ("7", .notAnObject),
            (String(repeating: " ", count: 16_385), .tooLarge),
        ]
        for (text, error) in bodies {
            #expect(throws: error) { try PostbackVerifier.read(Array(text.utf8)) }
        }
        #expect(try PostbackVerifier.read(Array("{}".utf8)).verdict == .invalid)
    }

    @Test func `a claim counts once, and only a valid postback takes it`() async throws {
        let open = try OpenDatabase()
        let store = PostbackStore(database: open.database, clock: open.clock)
        let good = PostbackVectors.all[4].body
        var forged = good
        forged["did-win"] = false
        #expect(try await store.receive(PostbackVectors.bytes(forged)).state == .refused)
        #expect(try await store.receive(PostbackVectors.bytes(good)).state == .counted)
        #expect(try await store.receive(PostbackVectors.bytes(good)).state == .duplicate)
        var copy = good
        copy["conversion-value"] = 12
        #expect(try await store.receive(PostbackVectors.bytes(copy)).state == .duplicate)
        #expect(try await store.receive(PostbackVectors.bytes(forged)).state == .refused)
        // 2.1, 2.2 and 3.0 examples carry one transaction id with different signed fields.
        #expect(try await store.receive(PostbackVectors.bytes(PostbackVectors.all[0].body)).state == .counted)
        #expect(try await store.receive(PostbackVectors.bytes(PostbackVectors.all[1].body)).state == .conflict)
        await #expect(throws: PostbackError.notJSON) { try await store.receive(Array("{".utf8)) }

        let document = try await store.document(org: "default", PostbackFilter())
        let rows = document["postbacks"]?.array ?? []
        #expect(rows.count == 5 && document["quarantined"]?.integer == 1)
        let duplicate = rows.first { $0["state"] == "duplicate" }
        #expect(duplicate?["differs"]?.array == ["conversion-value"])
        #expect(rows.first { $0["state"] == "counted" && $0["version"] == "4.0" }?["copies"]?.integer == 2)
        let totals = Dictionary(
            uniqueKeysWithValues: try await store.totals("default").map { ("\($0.state) \($0.verdict)", $0.received) })
        #expect(totals == ["counted valid": 3, "duplicate valid": 1, "conflict valid": 1, "refused invalid": 2])
        var filter = PostbackFilter()
        filter.state = .conflict
        #expect(try await store.document(org: "default", filter)["postbacks"]?.array?.count == 1)
        filter = PostbackFilter()
        filter.appID = 1
        #expect(try await store.document(org: "default", filter)["postbacks"]?.array?.isEmpty == true)
        #expect(try await store.document(org: "other", PostbackFilter())["postbacks"]?.array?.isEmpty == true)
    }

    @Test func `one valid postback with ever other unsigned fields fills a few rows and no more`() async throws {
        let open = try OpenDatabase()
        let store = PostbackStore(database: open.database, clock: open.clock)
        for (body, first) in [(4, PostbackReceipt.State.counted), (1, .counted), (0, .conflict)] {
            for round in 0..<40 {
                var varied = PostbackVectors.all[body].body
                varied["country-code"] = .string("\(round)")
                let expected = round == 0 ? first : first == .counted ? .duplicate : first
                #expect(try await store.receive(PostbackVectors.bytes(varied)).state == expected, "\(body) \(round)")
            }
        }
        let totals = Dictionary(
            uniqueKeysWithValues: try await store.totals("default").map { ($0.state, [$0.postbacks, $0.received]) })
        let most = Int64(PostbackStore.duplicatesOfClaimMax)
        // Of two claims 39 bodies each come after the first, of the conflict all 40.
        #expect(
            totals == [
                "counted": [2, 80 - 2 * most], "duplicate": [2 * most, 2 * most], "conflict": [most, 40],
            ])
    }

    @Test func `a repeated body answers what its row says, and is judged again once its key is known`() async throws {
        let open = try OpenDatabase()
        let blind = PostbackStore(database: open.database, clock: open.clock, keys: PostbackKeys(base64: [:]))
        let store = PostbackStore(database: open.database, clock: open.clock)
        let (good, other) = (
            PostbackVectors.bytes(PostbackVectors.all[0].body), PostbackVectors.bytes(PostbackVectors.all[1].body)
        )
        for _ in 0..<2 { #expect(try await blind.receive(good).state == .refused) }
        #expect(try await store.receive(good).state == .counted)
        #expect(try await store.receive(good).state == .duplicate)
        for _ in 0..<2 { #expect(try await store.receive(other).state == .conflict) }
        let totals = Dictionary(
            uniqueKeysWithValues: try await store.totals("default").map { ($0.state, [$0.postbacks, $0.received]) })
        #expect(totals == ["counted": [1, 4], "conflict": [1, 2]])
    }

    @Test func `a test postback takes no claim of production`() async throws {
        let open = try OpenDatabase()
        let (production, development) = (P256.Signing.PrivateKey(), P256.Signing.PrivateKey())
        let names = [PostbackKeys.production: production, "apple-development-identifier/1": development]
        let keys = PostbackKeys(base64: names.mapValues { $0.publicKey.derRepresentation.base64EncodedString() })
        let store = PostbackStore(database: open.database, clock: open.clock, keys: keys)
        for (name, key) in names {
            let head = PostbackVectors.base64URL("{\"kid\":\"\(name)\",\"alg\":\"ES256\"}")
            let signed = head + "." + PostbackVectors.jws[1]
            let signature = try key.signature(for: Data(signed.utf8)).rawRepresentation.base64EncodedString()
            let text = signature.replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
            let body = PostbackVectors.bytes(["jws-string": .string(signed + "." + text)])
            let receipt = try await store.receive(body)
            #expect(receipt.state == .counted, "\(name) \(receipt.postback.reason)")
        }
    }

    @Test func `a NUL character in a text is stored as one that every database has`() async throws {
        let open = try OpenDatabase()
        let store = PostbackStore(database: open.database, clock: open.clock)
        var body = PostbackVectors.all[4].body
        for field in ["version", "ad-network-id", "transaction-id"] {
            body[field] = .string("a\u{0}b")
            body["x\u{0}y"] = "z"
            #expect(try await store.receive(PostbackVectors.bytes(body)).state == .refused, "\(field)")
        }
        #expect(try await store.document(org: "default", PostbackFilter())["postbacks"]?.array?.count == 3)
        let wide = PostbackVectors.bytes(PostbackVectors.all[4].body).flatMap { byte -> [UInt8] in [byte, 0] }
        await #expect(throws: PostbackError.notJSON) { try await store.receive(wide) }
    }

    @Test func `a claim is forgotten after 400 days`() async throws {
        let open = try OpenDatabase()
        let store = PostbackStore(database: open.database, clock: open.clock)
        let good = PostbackVectors.all[4].body
        #expect(try await store.receive(PostbackVectors.bytes(good)).state == .counted)
        open.clock.advance(by: PostbackStore.claimsKept + .seconds(1))
        #expect(try await store.receive(PostbackVectors.bytes(PostbackVectors.all[0].body)).state == .counted)
        #expect(try await store.totals("default").map(\.postbacks) == [1])
        #expect(try await store.receive(PostbackVectors.bytes(good)).state == .counted)
    }
}
