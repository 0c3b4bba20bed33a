import Attribution
import AurumCore
import Database
import Events
import Foundation
import TestSupport
import Testing

/// A made-up world of 4,000 installs whose truth is known because it was decided before the events were made.
struct InstallWorldTests {
    private typealias World = InstallFollowTests.World

    private struct Truth {
        var method: InstallMethod
        var touch: String?
        var isReinstall: Bool
    }

    /// Makes events and the truth, install by install; nobody shares an identifier with anybody else.
    private struct Maker {
        var random: SeededRandom
        var events: [JSONValue] = []
        var truth: [String: Truth] = [:]
        var number = 0
        private var touches = 0

        init(seed: UInt64) { random = SeededRandom(seed: seed) }

        private static let methods = InstallMethod.allCases.filter { $0 != .organic }
        private static let day = InstallFollowTests.day

        private mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

        /// Members of a touch that one method finds, for install `n`.
        private mutating func members(_ method: InstallMethod, _ n: Int) -> [String: JSONValue] {
            switch method {
            case .deviceID:
                switch n % 3 {
                case 0: ["device_id": .string("DEVICE-\(n)")]
                case 1: ["advertising_id": .string("ADV-\(n)")]
                default: ["vendor_id": .string("VENDOR-\(n)")]
                }
            case .clickID: ["click_id": .string("click-\(n)")]
            case .installReferrer: ["click_id": .string("referred-\(n)")]
            case .deepLink: ["click_id": .string("linked-\(n)")]
            case .userID: ["user_id": .string("user-\(n)")]
            case .organic: ["click_id": .string("stranger-\(n)")]
            }
        }

        private mutating func touch(_ type: String, _ method: InstallMethod, _ n: Int, at: Int64) -> String {
            touches += 1
            let id = "t\(touches)"
            events.append(InstallFollowTests.event(type, id, at, members(method, n)))
            return id
        }

        mutating func addInstall() {
            number += 1
            let n = number
            let at = 12 * Self.day + Int64.random(in: 0..<(10 * Self.day), using: &random)
            // What each method has of clicks in the window, of views in theirs, and of what is too old or too new.
            var winner: (InstallMethod, String)?
            for (type, window) in [("click", 7 * Self.day), ("impression", Self.day)] {
                for method in Self.methods {
                    var latest: String?
                    let isHere = chance(type == "click" ? 12 : 10)
                    var age = window + 1
                    // The older first, so that the last one made is the latest.
                    for _ in 0..<(isHere ? Int.random(in: 1...3, using: &random) : 0) {
                        age = chance(20) ? min(age - 1, window) : Int64.random(in: 0..<max(1, age), using: &random)
                        guard age >= 0 else { break }
                        latest = touch(type, method, n, at: at - age)
                    }
                    if chance(8) { _ = touch(type, method, n, at: at - window - 1) }
                    if chance(5) { _ = touch(type, method, n, at: at + 1) }
                    if winner == nil, let latest { winner = (method, latest) }
                }
            }
            if chance(10) { _ = touch("click", .organic, n, at: at - 1) }
            addInstall(n, at, id: "i\(n)")
            truth["i\(n)"] = Truth(method: winner?.0 ?? .organic, touch: winner?.1, isReinstall: false)
        }

        private mutating func addInstall(_ n: Int, _ at: Int64, id: String) {
            let device: [String: JSONValue] =
                switch n % 3 {
                case 0: ["device_id": .string("device-\(n)"), "advertising_id": "00000000-0000-0000-0000-000000000000"]
                case 1: ["advertising_id": .string("adv-\(n)")]
                default: ["vendor_id": .string("vendor-\(n)")]
                }
            var members = device
            members["click_id"] = .string("click-\(n)")
            members["install_referrer"] = .string("utm_source=x&aurum_click=referred-\(n)")
            members["url"] = .string("shop://open?aurum_click=linked-\(n)")
            members["user_id"] = .string("user-\(n)")
            events.append(InstallFollowTests.event("install", id, at, members))
        }

        /// The same device once more, long after.
        mutating func addReinstall(of n: Int) {
            addInstall(n, 35 * Self.day + Int64(n), id: "again\(n)")
            truth["again\(n)"] = Truth(method: .organic, touch: nil, isReinstall: true)
        }
    }

    @Test func `of 4,000 installs every one is matched as it was made`() async throws {
        var maker = Maker(seed: 20_261_122)
        for n in 1...3900 {
            maker.addInstall()
            if n % 39 == 0 { maker.addReinstall(of: n) }
        }
        #expect(maker.truth.count == 4000)
        var random = SeededRandom(seed: 7)
        let world = try World()
        let shuffled = maker.events.shuffled(using: &random)
        // In parts, with a follower that ends after each; the touches of an install may come after it, so the rest is
        // decided anew, as an operator would.
        let parts = 4
        for part in 0..<parts {
            let (from, to) = (shuffled.count * part / parts, shuffled.count * (part + 1) / parts)
            try await world.send(Array(shuffled[from..<to]))
            if part < 2 { try await world.follow() }
        }
        try await world.follow()
        _ = try await world.installs().recompute(InstallWish(), org: "o", run: UID(high: 1, low: 1))
        var (seen, wrong, methods): (Int, [String], [String: Int]) = (0, [], [:])
        var filter = InstallFilter()
        filter.limit = 1000
        var isOver = false
        while !isOver {
            let page = try await world.installs().list(org: "o", filter)
            for found in page["installs"]?.array ?? [] {
                let id = found["id"]?.string ?? ""
                let known = maker.truth[id]
                seen += 1
                methods[known?.method.rawValue ?? "", default: 0] += 1
                let isRight =
                    found["method"]?.string == known?.method.rawValue && found["touch"]?["id"]?.string == known?.touch
                    && found["is_reinstall"]?.bool == known?.isReinstall
                if !isRight { wrong.append("\(id): \(found.canonical.prefix(300))") }
            }
            filter.after = page["next"]?.string.flatMap { InstallPageMark($0) }
            isOver = filter.after == nil
        }
        #expect(seen == 4000 && wrong.isEmpty, "\(wrong.count) wrong: \(wrong.prefix(3))")
        #expect(methods.count == InstallMethod.allCases.count && methods.values.allSatisfy { $0 > 20 }, "\(methods)")
        await world.log.close()
    }
}
