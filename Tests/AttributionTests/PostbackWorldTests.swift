import Attribution
import AurumCore
import Crypto
import Foundation
import TestSupport
import Testing

/// A world of devices that post what they were told to, again and again, and of people who forge.
struct PostbackWorldTests {
    private struct World {
        let key = P256.Signing.PrivateKey()
        var random: SeededRandom

        func signed(_ transaction: UInt64, index: Int, didWin: Bool) throws -> [String: JSONValue] {
            let fields: [String: JSONValue] = [
                "version": "4.0", "ad-network-id": "world.example", "source-identifier": "1234", "app-id": 77,
                "transaction-id": .string("world-\(transaction)"), "redownload": false, "fidelity-type": 1,
                "did-win": .bool(didWin), "postback-sequence-index": .integer(Int64(index)),
            ]
            let text = [
                "4.0", "world.example", "1234", "77", "world-\(transaction)", "false", "1", String(didWin),
                String(index),
            ].joined(separator: "\u{2063}")
            let signature = try key.signature(for: Data(text.utf8)).derRepresentation
            return fields.merging(["attribution-signature": .string(signature.base64EncodedString())]) { $1 }
        }
    }

    @Test func `every postback of a world with retries, copies and forgeries is classified, and no forgery counts`()
        async throws
    {
        let soak = ProcessInfo.processInfo.environment["TEST_SOAK"] != nil
        let devices = soak ? 40_000 : 400
        let seed: UInt64 = 77
        print("postback world seed \(seed)")
        var world = World(random: SeededRandom(seed: seed))
        let open = try OpenDatabase()
        let keys = PostbackKeys(base64: [
            PostbackKeys.production: world.key.publicKey.derRepresentation.base64EncodedString()
        ])
        let store = PostbackStore(database: open.database, clock: open.clock, keys: keys)
        var expected: [PostbackReceipt.State: Int] = [:]
        var bodies: [(body: [UInt8], state: PostbackReceipt.State)] = []
        for device in 0..<devices {
            let didWin = Int.random(in: 0..<5, using: &world.random) > 0
            for index in 0..<(didWin ? Int.random(in: 1...3, using: &world.random) : 1) {
                let number = UInt64(device)
                var body = try world.signed(number, index: index, didWin: didWin)
                body["coarse-conversion-value"] = index > 0 ? "low" : nil
                bodies.append((PostbackVectors.bytes(body), .counted))
                // The network and the developer get copies; devices that were not answered send again.
                for _ in 0..<Int.random(in: 0...2, using: &world.random) {
                    bodies.append((PostbackVectors.bytes(body), .duplicate))
                }
                if Int.random(in: 0..<10, using: &world.random) == 0 {
                    body["country-code"] = "NY"
                    bodies.append((PostbackVectors.bytes(body), .duplicate))
                }
                if Int.random(in: 0..<20, using: &world.random) == 0 {
                    // A forger gets in first and claims to be another conversion.
                    body["postback-sequence-index"] = .integer(Int64(index + 1))
                    bodies.insert(
                        (PostbackVectors.bytes(body), .refused),
                        at: Int.random(in: 0...bodies.count, using: &world.random))
                }
                if Int.random(in: 0..<50, using: &world.random) == 0 {
                    let other = try world.signed(number, index: index, didWin: !didWin)
                    bodies.append((PostbackVectors.bytes(other), .conflict))
                }
            }
        }
        for (body, state) in bodies {
            let receipt = try await store.receive(body)
            #expect(receipt.state == state, "\(String(decoding: body, as: UTF8.self))")
            expected[state, default: 0] += 1
        }
        var found: [PostbackReceipt.State: Int] = [:]
        for total in try await store.totals("default") {
            let state = PostbackReceipt.State(rawValue: total.state) ?? .refused
            #expect((state == .refused) == (total.verdict != "valid"))
            // Copies of what counts are received under its row.
            found[state, default: 0] += state == .counted ? Int(total.postbacks) : Int(total.received)
            if state == .counted { found[.duplicate, default: 0] += Int(total.received - total.postbacks) }
        }
        #expect(found == expected && (expected[.refused] ?? 0) > 0 && (expected[.conflict] ?? 0) > 0)
    }
}
