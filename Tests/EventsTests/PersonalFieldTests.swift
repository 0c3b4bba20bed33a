internal import AurumCore
internal import Events
internal import Foundation
internal import TestSupport
import Testing

/// What the log may know of a person.
struct PersonalFieldTests {
    private static func line(_ number: Int) -> String {
        """
        {"id":"e\(number)","type":"identify","user_id":"user\(number)@mail.example","anonymous_id":"+1 212 555 \
        \(1000 + number)","ts":"2026-11-21T11:00:00Z","traits":{"email":"Trait\(number)@Mail.example",\
        "phone":"(917) 555-\(1000 + number)","firstName":"Quirin\(number)x","address":{"street":"Sealed Street \
        \(number)q"},"plan":"pro","contacts":[{"mail":"deep\(number)@mail.example"}]},\
        "context":{"ip":"203.0.113.\(number)","traits":{"last_name":"Zyx\(number)wv"}}}
        """
    }

    private static func planted(_ number: Int) -> [String] {
        [
            "user\(number)@mail.example", "212 555 \(1000 + number)", "Trait\(number)@Mail.example",
            "555-\(1000 + number)", "Quirin\(number)x", "Sealed Street \(number)q", "deep\(number)@mail.example",
            "203.0.113.\(number)\"", "Zyx\(number)wv",
        ]
    }

    @Test func `two hundred e-mail addresses, telephone numbers, names and addresses are nowhere in the log`()
        async throws
    {
        let desk = try await PolicyDesk.open()
        let receipt = try await desk.log.send((1...200).map(Self.line).joined(separator: "\n"))
        #expect(receipt.stored == 200, "\(receipt.json)")
        #expect(try await desk.found((1...200).flatMap(Self.planted)) == [])
        #expect(try await desk.found(["\"plan\":\"pro\"", "sealed:v1:", "203.0.113.0"]).count == 3)
        await desk.log.close()
    }

    @Test func `traits and addresses that PostHog's clients repeat among the properties are nowhere in the log`()
        async throws
    {
        let desk = try await PolicyDesk.open()
        let person =
            ##""distinct_id":"d1","properties":{"$ip":"198.51.100.77","plan":"pro","$set":{"email":"##
            + ##""planted@mail.example","name":"Quirin Planted"},"$set_once":{"phone":"+12125550177"}}"##
        let body =
            "{\"api_key\":\"k\",\"batch\":[{\"event\":\"$identify\",\(person)},{\"event\":\"bought\",\(person)}]}"
        let lines = try Array(body.utf8).withUnsafeBytes {
            try PostHogBody.translate($0, limits: EventLimits(), receivedAt: testNow).lines
        }
        let receipt = try await desk.log.send(String(decoding: lines, as: UTF8.self), format: .postHog)
        #expect(receipt.stored == 2, "\(receipt.json)")
        let planted = ["planted@mail.example", "Quirin Planted", "+12125550177", "198.51.100.77"]
        #expect(try await desk.found(planted) == [])
        #expect(try await desk.found(["\"plan\":\"pro\"", "198.51.100.0"]).count == 2)
        await desk.log.close()
    }

    /// Members of any event that hold traits under another name, whether or not the form of the event was seen before.
    @Test(arguments: ["traits_set", "traits_once", "$set", "$set_once", "user_data"])
    func `personal fields of events of any type are nowhere in the log`(member: String) async throws {
        let desk = try await PolicyDesk.open()
        let lines = (1...60).map { number in
            #"{"id":"t\#(number)","type":"track","name":"Bought","user_id":"u\#(number)","ts":"2026-11-21T11:00:00Z","#
                + #""\#(member)":{"email":"planted\#(number)@mail.example","phone":"+1 212 555 \#(1000 + number)","#
                + #""name":"Quirin\#(number)z","address":{"street":"Planted Street \#(number)q"}},"#
                + #""props":{"plan":"pro"}}"#
        }
        #expect(try await desk.log.send(lines.joined(separator: "\n")).stored == 60)
        let planted = (1...60).flatMap {
            ["planted\($0)@mail.example", "212 555 \(1000 + $0)", "Quirin\($0)z", "Planted Street \($0)q"]
        }
        #expect(try await desk.found(planted) == [])
        #expect(try await desk.found(["\"plan\":\"pro\"", "sealed:v1:"]).count == 2)
        // Who holds the key reads them as they were sent.
        let event = try #require(try await desk.events().first { $0.id == "t7" })
        let text = desk.policies.unsealed(event.json, org: "acme").canonical
        #expect(text.contains("planted7@mail.example") && text.contains("Quirin7z"), "\(text)")
        await desk.log.close()
    }

    @Test func `what Google's user_data says is nowhere in the log`() async throws {
        let desk = try await PolicyDesk.open()
        let person =
            #""user_data":{"email_address":"planted@mail.example","sha256_phone_number":["9f86d081884c7d65"],"#
            + #""address":{"first_name":"Quirin","last_name":"Plantedson","city":"Ghentbruck"}}"#
        let body = #"{"client_id":"c",\#(person),"events":[{"name":"purchase","params":{"value":5}},{"name":"seen"}]}"#
        #expect(try await desk.log.sendMeasurement(body).stored == 2)
        let planted = ["planted@mail.example", "9f86d081884c7d65", "Quirin", "Plantedson", "Ghentbruck"]
        #expect(try await desk.found(planted) == [])
        #expect(try await desk.events().allSatisfy { $0.raw.contains("\"user_data\":\"sealed:v1:") })
        await desk.log.close()
    }

    @Test func `whoever holds the key reads the traits as they were sent`() async throws {
        let desk = try await PolicyDesk.open()
        _ = try await desk.log.send(Self.line(7))
        let event = try #require(try await desk.events().first)
        #expect(event.traits?["email"]?.string?.hasPrefix("sealed:v1:") == true)
        let open = desk.policies.unsealed(event.json, org: "acme")
        #expect(open["traits"]?["email"] == "Trait7@Mail.example" && open["traits"]?["firstName"] == "Quirin7x")
        #expect(open["traits"]?["address"] == ["street": "Sealed Street 7q"])
        #expect(open["context"]?["traits"]?["last_name"] == "Zyx7wv")
        #expect(open["traits"]?["contacts"]?.array?.first?["mail"] == "deep7@mail.example")
        // Another organisation's key place opens nothing.
        #expect(desk.policies.unsealed(event.json, org: "rival")["traits"]?["email"] == event.traits?["email"])
        #expect(event.traits?["email_hash"]?.string == desk.policies.lookupHash(" trait7@mail.EXAMPLE ", org: "acme"))
        await desk.log.close()
    }

    @Test func `a look-up by e-mail address or telephone number finds its events, however it is spelt`() async throws {
        let desk = try await PolicyDesk.open()
        _ = try await desk.log.send(Self.line(3) + "\n" + trackLine(["id": "\"t\"", "user_id": "\"u9\""]))
        for (namespace, value) in [
            (PersonIdentifier.Namespace.user, "user3@mail.example"), (.user, "USER3@MAIL.EXAMPLE"),
            (.anonymous, "+12125551003"), (.anonymous, "(212) 555-1003"),
        ] {
            var filter = EventFilter(org: "acme")
            filter.identifiers = [PersonIdentifier(namespace, value)]
            #expect(try await desk.store.events(filter).map(\.id) == ["e3"], "\(value)")
        }
        let event = try #require(try await desk.events().first)
        #expect(event.userID?.hasPrefix("h:") == true && event.userID?.utf8.count == 34)
        await desk.log.close()
    }

    @Test func `an address is cut to its network, and its hash is the same all day and another one tomorrow`()
        async throws
    {
        let desk = try await PolicyDesk.open()
        for (number, address) in ["203.0.113.77", "2001:db8:1:2:3:4:5:6", "::ffff:198.51.100.9", "not an address"]
            .enumerated()
        {
            let line = trackLine(["id": "\"i\(number)\"", "context": "{\"ip\":\"\(address)\",\"locale\":\"en\"}"])
            _ = try await desk.log.send(line)
        }
        let contexts = try await desk.events().map { $0.context ?? .null }
        #expect(contexts.map { $0["ip"]?.string } == ["203.0.113.0", "2001:db8:1::", "198.51.100.0", nil])
        #expect(contexts.allSatisfy { $0["locale"] == "en" })
        let again = trackLine(["id": "\"i9\"", "context": "{\"ip\":\"203.0.113.77\"}"])
        _ = try await desk.log.send(again)
        _ = try await desk.log.send(
            trackLine(["id": "\"i10\"", "context": "{\"ip\":\"203.0.113.77\"}"]), at: testNow + .seconds(86_400))
        let hashes = try await desk.events().compactMap { $0.context?["ip_hash"]?.string }
        #expect(hashes.count == 5 && hashes[0] == hashes[3] && hashes[0] != hashes[4] && hashes[0] != hashes[1])
        await desk.log.close()
    }

    @Test func `an event without anything personal is kept byte for byte`() async throws {
        let desk = try await PolicyDesk.open()
        let line = trackLine(["props": "{ \"a\" : 1e0 }", "anonymous_id": "\"4f1d2c3b-0000-4000-8000-123456789012\""])
        _ = try await desk.log.send(line)
        #expect(try await desk.events().first?.raw == line)
        await desk.log.close()
    }

    @Test func `a personal event sent again is a duplicate, with and without an id of its own`() async throws {
        let desk = try await PolicyDesk.open()
        let batch = """
            {"batch":[{"type":"identify","userId":"a@b.example","timestamp":"2026-11-21T11:00:00Z",\
            "traits":{"email":"a@b.example"},"context":{"ip":"203.0.113.1"}}]}
            """
        #expect(try await desk.log.send(batch, format: .segmentBatch).stored == 1)
        #expect(try await desk.log.send(batch, format: .segmentBatch).duplicate == 1)
        #expect(try await desk.log.send(Self.line(1)).stored == 1)
        #expect(try await desk.log.send(Self.line(1)).duplicate == 1)
        await desk.log.close()
    }

    @Test func `names that an app marks are sealed in traits and props, long values too`() async throws {
        let desk = try await PolicyDesk.open()
        _ = try await desk.policies.apps.put(org: "acme", app: "shop", ["personal_keys": ["nick_name"]])
        let long = String(repeating: "Langer Name ", count: 680)
        _ = try await desk.log.send(
            trackLine(["props": "{\"nickName\":\"Zorro55\",\"kept\":\"x\"}", "traits": "{\"address\":\"\(long)\"}"]))
        #expect(try await desk.found(["Zorro55", "Langer Name"]) == [])
        let event = try #require(try await desk.events().first)
        let open = desk.policies.unsealed(event.json, org: "acme")
        #expect(open["props"]?["nickName"] == "Zorro55" && open["traits"]?["address"]?.string == long)
        await desk.log.close()
    }

    @Test(arguments: [
        ("a@b.example", true), ("A.B+c@mail.b.example", true), ("@handle", false), ("user@host", false),
        ("+4930123456", true), ("+12125550100", true), ("(212) 555-0100", true), ("212.555.0100", true),
        ("2125550100", true), ("12125550100", true), ("1700000001", false), ("12345678", false),
        ("4f1d2c3b-0000-4000-8000-123456789012", false), ("2024-11-21", false), ("u1", false), ("user_123456", false),
    ])
    func `an identifier is hashed when it is an e-mail address or a telephone number`(text: String, isHashed: Bool)
        async throws
    {
        let desk = try await PolicyDesk.open()
        #expect(desk.policies.storedForm(text, org: "acme").hasPrefix("h:") == isHashed)
        #expect(desk.policies.storedForm(text, org: "acme") == desk.policies.storedForm(text, org: "acme"))
        if isHashed { #expect(desk.policies.storedForm(text, org: "acme") != desk.policies.storedForm(text, org: "b")) }
        await desk.log.close()
    }

    @Test func `the key is made once, for its owner only, and a broken one is a sentence`() throws {
        let folder = TemporaryFolder()
        let path = folder.file("personal.key")
        let place = SealedPlace(org: "acme", field: "email")
        let sealed = try InstallationKeySealer.open(keyFile: path).seal(Array("\"a@b.example\"".utf8), place)
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        let again = try InstallationKeySealer.open(keyFile: path)
        #expect(again.open(sealed, place).map { String(decoding: $0, as: UTF8.self) } == "\"a@b.example\"")
        #expect(again.open(sealed, SealedPlace(org: "acme", field: "phone")) == nil)
        #expect(again.open(String(sealed.dropLast(6)) + "AAAAAA", place) == nil)
        let hash = again.addressHash([1, 2, 3, 4], org: "acme", day: 20_000)
        #expect(
            try InstallationKeySealer.open(keyFile: path).addressHash([1, 2, 3, 4], org: "acme", day: 20_000) == hash)
        try Data("short".utf8).write(to: URL(fileURLWithPath: path))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        #expect(throws: PersonalKeyError.malformed(path)) { try InstallationKeySealer.open(keyFile: path) }
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
        #expect(throws: PersonalKeyError.readableByOthers(path)) { try InstallationKeySealer.open(keyFile: path) }
    }
}
