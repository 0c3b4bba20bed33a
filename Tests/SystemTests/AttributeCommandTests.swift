import AurumCore
import Foundation
import TestSupport
import Testing

/// `aurum attribute` and `aurum attribution` as somebody at a terminal meets them.
struct AttributeCommandTests {
    private static let small =
        "path,total_conversions,total_conversion_value,total_null\na > b,1,6,0\na,1,2,1\nb,0,0,1\n"

    private func attribute(
        _ text: String, _ arguments: [String] = []
    ) async throws -> (status: Int32, output: String) {
        let folder = TemporaryFolder()
        try Data(text.utf8).write(to: URL(fileURLWithPath: folder.file("paths.csv")))
        return try await AurumBinary.run(["attribute", folder.file("paths.csv")] + arguments)
    }

    private func json(_ output: String) throws -> JSONValue {
        // Notes come on standard error, before or after the document.
        let line = output.split(separator: "\n").first { $0.hasPrefix("{") } ?? ""
        return try JSONDecoder().decode(JSONValue.self, from: Data(line.utf8))
    }

    @Test func `JSON has the documented shape and the credits of a hand-made file`() async throws {
        let answer = try await attribute(
            Self.small, ["--format", "json", "--half-life-steps", "1", "--explain", "a"])
        #expect(answer.status == 0, "\(answer.output)")
        let document = try json(answer.output)
        let models = document["models"]?.object ?? [:]
        #expect(
            Set(models.keys) == [
                "first", "last", "lastNonDirect", "linear", "timeDecay", "position", "wShaped", "markov1", "markov2",
                "markov3", "shapley",
            ])
        func figure(_ model: String, _ channel: String, _ member: String) -> Double {
            models[model]?["channels"]?[channel]?[member]?.double ?? .nan
        }
        #expect(figure("first", "a", "conversions") == 2 && figure("first", "a", "value") == 8)
        #expect(figure("last", "b", "value") == 6 && figure("linear", "b", "conversions") == 0.5)
        #expect((figure("timeDecay", "b", "conversions") - 2.0 / 3).magnitude < 1e-12)
        #expect((figure("wShaped", "a", "conversions") - (1 + 3.0 / 7)).magnitude < 1e-12)
        #expect((figure("markov1", "a", "removalEffect") - 0.75).magnitude < 1e-12)
        #expect((figure("markov1", "a", "conversions") - 1.2).magnitude < 1e-12)
        #expect(document["explanation"]?["channel"] == "a" && document["input"]?["rows"]?.integer == 3)
    }

    @Test func `every format and a table of touches come out`() async throws {
        let table = try await attribute(Self.small)
        #expect(table.status == 0 && table.output.contains("markov1") && table.output.contains("needs_half_life"))
        let csv = try await attribute(Self.small, ["--format", "csv", "--models", "first"])
        #expect(csv.output.contains("first,a,2.0,8.0,,"))
        let page = try await attribute(Self.small, ["--format", "html"])
        #expect(
            page.output.contains("<!doctype html>") && page.output.contains("<svg") && page.output.contains("</html>"))
        let touches = """
            person_id,timestamp,channel,conversion,value
            p1,2026-01-01T00:00:00Z,search,0,0
            p1,2026-01-08T00:00:00Z,email,1,9
            p2,2026-01-01T00:00:00Z,search,0,0
            """
        let answer = try await attribute(touches, ["--format", "json"])
        let decay = try json(answer.output)["models"]?["timeDecay"]?["channels"]
        #expect((decay?["email"]?["value"]?.double ?? 0) == 6, "\(answer.output)")
    }

    @Test func `bad rows are named and the status says what happened`() async throws {
        let bad = Self.small + "a,x,1,1\n"
        let lenient = try await attribute(bad, ["--format", "json"])
        #expect(lenient.status == 0 && lenient.output.contains("line 5, column total_conversions: “x” is no number"))
        #expect(try json(lenient.output)["badRows"]?.array?.count == 1)
        let strict = try await attribute(bad, ["--strict"])
        #expect(strict.status == 2 && strict.output.contains("line 5, column total_conversions"))
        let nothing = try await attribute("path,total_conversions,total_null\na,0,2\n")
        #expect(nothing.status == 3 && nothing.output.contains("no_conversions"))
        let noNulls = try await attribute("path,total_conversions\na > b,2\n", ["--models", "markov1"])
        #expect(noNulls.status == 2 && noNulls.output.contains("needs_null_column"))
        let missing = try await AurumBinary.run(["attribute", "/nowhere/paths.csv"])
        #expect(missing.status == 2 && missing.output.contains("cannot be opened"))
        let folder = try await AurumBinary.run(["attribute", "/"])
        #expect(folder.status == 2 && folder.output.contains("is a folder"))
        #expect(try await attribute(Self.small, ["--explain", "zebra"]).status == 2)
        for wrong in [
            ["--models", "magic"], ["--models", ""], ["--sep", "→"], ["--delimiter", "é"],
            ["--order", "4"], ["--half-life-steps", "0"], ["--delimiter", "ab"],
            ["--custom", "first=-1"], ["--custom", "first=0"], ["--custom", "bogus=1"], ["--channel-factor", "x"],
        ] {
            let refused = try await attribute(Self.small, wrong)
            #expect(refused.status == 64 && refused.output.contains("Error:"), "\(wrong): \(refused.output)")
        }
    }

    @Test func `custom weights reach the credits`() async throws {
        let weights = ["--models", "custom", "--format", "json", "--custom", "first=1,last=3"]
        let plain = try json(try await attribute(Self.small, weights).output)["models"]?["custom"]?["channels"]
        #expect(plain?["b"]?["conversions"]?.double == 0.75)
        // Weights without the model in --models are used all the same.
        let added = try json(
            try await attribute(
                Self.small, ["--models", "first", "--format", "json", "--custom", "first=1,last=3"]
            ).output)
        #expect(added["models"]?["custom"]?["channels"] == plain && added["models"]?["first"] != nil)
        let scaled = try json(try await attribute(Self.small, weights + ["--channel-factor", "b=0"]).output)
        #expect(scaled["models"]?["custom"]?["channels"]?["a"]?["conversions"]?.double == 2)
    }

    @Test func `a postback is verified offline`() async throws {
        let folder = TemporaryFolder()
        let body = """
            {"version":"4.0","ad-network-id":"com.example","source-identifier":"5239","app-id":525463029,\
            "transaction-id":"6aafb7a5-0170-41b5-bbe4-fe71dedf1e30","redownload":false,"source-domain":"example.com",\
            "fidelity-type":1,"did-win":true,"conversion-value":63,"postback-sequence-index":0,"attribution-signature":\
            "MEUCIGRmSMrqedNu6uaHyhVcifs118R5z/AB6cvRaKrRRHWRAiEAv96ne3dKQ5kJpbsfk4eYiePmrZUU6sQmo+7zfP/1Bxo="}
            """
        let cases: [(String, Int32, String)] = [
            (body, 0, "valid"), (body.replacing("5239", with: "5238"), 1, "invalid"),
            (body.replacing("\"4.0\"", with: "\"9.0\""), 1, "unverifiable"),
        ]
        for (text, status, verdict) in cases {
            try Data(text.utf8).write(to: URL(fileURLWithPath: folder.file("body.json")))
            let answer = try await AurumBinary.run(
                ["attribution", "postback", "verify", folder.file("body.json"), "--json"])
            let document = try JSONDecoder().decode(JSONValue.self, from: Data(answer.output.utf8))
            #expect(answer.status == status && document["verdict"]?.string == verdict, "\(answer.output)")
        }
        try Data("{".utf8).write(to: URL(fileURLWithPath: folder.file("body.json")))
        let broken = try await AurumBinary.run(["attribution", "postback", "verify", folder.file("body.json")])
        #expect(broken.status == 2 && broken.output.contains("not valid JSON"))
    }

    @Test func `the bench runs tiny and holds credits to the conversions`() async throws {
        let answer = try await AurumBinary.run(
            ["bench", "attribution", "--tiny", "--json"], directory: AurumBinary.root, within: .seconds(120))
        let report = try JSONDecoder().decode(JSONValue.self, from: Data(answer.output.utf8))
        let rows = Dictionary(
            uniqueKeysWithValues: (report["rows"]?.array ?? []).map { ($0["name"]?.string ?? "", $0) })
        #expect(answer.status == 0 && rows["attribution.sums"]?["pass"] == true, "\(answer.output)")
        #expect(rows["attribution.golden"]?["pass"] == true && rows["attribution.markov3"] != nil)
    }
}
