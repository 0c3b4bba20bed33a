import Attribution
import AurumCore
import Foundation
import Testing

/// Which touch led to an install: the pure decision, and what counts as an identifier.
struct InstallMatchTests {
    private static let at = Timestamp(milliseconds: 1_760_000_000_000)
    private static let window = InstallWindow(WindowPreset.standard.window, version: 3)
    private static let day: Int64 = 86_400_000
    private static let methods = InstallMethod.allCases.filter { $0 != .organic }

    private static var install: InstallFacts {
        InstallFacts(org: "o", app: "shop", id: UID(high: 0, low: 1), at: at)
    }

    /// A touch so many milliseconds before the install.
    private static func touch(
        _ id: String, _ age: Int64, _ methods: Set<InstallMethod>, _ kind: CandidateTouch.Kind = .click
    ) -> InstallTouch {
        let bare = CandidateTouch(
            id: UID(high: 0, low: 0), at: Timestamp(milliseconds: at.milliseconds - age), kind: kind)
        var touch = InstallTouch(bare, eventID: id, app: "shop")
        touch.methods = methods
        return touch
    }

    private static func decide(
        _ touches: [InstallTouch], _ verdicts: [FraudVerdict]? = nil, install verdict: FraudVerdict = .clean
    ) -> InstallDecision {
        InstallMatcher.decide(
            install, touches, window: window, verdicts: (verdict, verdicts ?? touches.map { _ in .clean }))
    }

    @Test func `of two methods the earlier wins, however old its click is`() {
        for (place, method) in Self.methods.enumerated() {
            for later in Self.methods.dropFirst(place + 1) {
                let old = Self.touch("old", 6 * Self.day, [method])
                let new = Self.touch("new", 1, [later])
                for touches in [[old, new], [new, old]] {
                    let decision = Self.decide(touches)
                    #expect(decision.method == method && decision.touch == old, "\(method) \(later)")
                    #expect(decision.runnersUp.map(\.reason) == ["later_method"] && decision.confidence == 1)
                }
            }
        }
    }

    @Test func `a click of the last method wins over a view of the first, and views go by the same order`() {
        let view = Self.touch("v", 1, [.deviceID], .view)
        let click = Self.touch("c", 3 * Self.day, [.userID])
        let decision = Self.decide([view, click])
        #expect(decision.method == .userID && decision.runnersUp.map(\.reason) == ["view_after_click"])
        let other = Self.touch("w", 1000, [.clickID], .view)
        #expect(Self.decide([other, view]).touch == view)
        #expect(Self.decide([other]).method == .clickID)
    }

    @Test func `in a method the latest wins, and at one moment the greater event id by its bytes`() {
        let touches = [
            Self.touch("a", 5, [.deviceID]), Self.touch("b", 5, [.deviceID]), Self.touch("Z", 5, [.deviceID]),
            Self.touch("zz", 6, [.deviceID]),
        ]
        for shift in touches.indices {
            let turned = Array(touches[shift...] + touches[..<shift])
            let decision = Self.decide(turned)
            #expect(decision.touch?.eventID == "b")
            #expect(decision.runnersUp.map(\.touch.eventID) == ["a", "Z", "zz"])
            #expect(decision.runnersUp.allSatisfy { $0.reason == "older" })
        }
    }

    @Test(arguments: [(CandidateTouch.Kind.click, 7 * day), (.view, day)])
    func `a window ends at its last millisecond`(kind: CandidateTouch.Kind, window: Int64) {
        for (age, isIn) in [(window - 1, true), (window, true), (window + 1, false), (0, true), (-1, false)] {
            let decision = Self.decide([Self.touch("t", age, [.clickID], kind)])
            #expect((decision.method == .clickID) == isIn, "\(kind) \(age)")
            if !isIn { #expect(decision.runnersUp.map(\.reason) == ["outside_window"]) }
        }
    }

    @Test func `every preset's window ends at its last millisecond`() {
        for preset in WindowPreset.allCases {
            let window = InstallWindow(preset.window)
            for kind in CandidateTouch.Kind.allCases {
                let length = (kind == .click ? window.click : window.view) / 1000
                for (age, isIn) in [(length - 1, true), (length, true), (length + 1, false)] {
                    let touch = Self.touch("t", age, [.userID], kind)
                    let decision = InstallMatcher.decide(
                        Self.install, [touch], window: window, verdicts: (.clean, [.clean]))
                    #expect((decision.touch != nil) == isIn, "\(preset) \(kind) \(age)")
                }
            }
        }
    }

    @Test func `a rejected touch loses by its code and the next candidate wins; a suspect one wins with its codes`() {
        let touches = [
            Self.touch("device", 1, [.deviceID]), Self.touch("older", 2, [.deviceID]), Self.touch("user", 1, [.userID]),
        ]
        let rejected = FraudVerdict(outcome: .rejected, codes: ["ctit_impossible"])
        let suspect = FraudVerdict(outcome: .suspect, codes: ["ctit_fast"])
        let decision = Self.decide(touches, [rejected, suspect, .clean])
        #expect(decision.touch?.eventID == "older" && decision.verdict == suspect)
        #expect(decision.runnersUp.first { $0.touch.eventID == "device" }?.reason == "fraud:ctit_impossible")
        let organic = Self.decide(touches, [rejected, rejected, rejected])
        #expect(organic.method == .organic && organic.touch == nil && organic.confidence == nil)
        #expect(organic.verdict == .clean && organic.runnersUp.count == 3)
    }

    @Test func `a rejected install keeps its decision`() {
        let rejected = FraudVerdict(outcome: .rejected, codes: ["device_farm"])
        let decision = Self.decide([Self.touch("t", 1, [.clickID])], install: rejected)
        #expect(decision.method == .clickID && decision.touch != nil && decision.verdict == rejected)
    }

    @Test func `runners-up are bounded and counted`() {
        let touches = (0..<50).map { Self.touch("t\($0)", Int64($0), [.deviceID]) }
        let decision = Self.decide(touches)
        #expect(decision.touch?.eventID == "t0" && decision.runnersUp.count == InstallDecision.runnersUpMax)
        #expect(decision.runnersUpLeftOut == 49 - InstallDecision.runnersUpMax)
    }

    @Test(arguments: [
        "", "0", "00000000-0000-0000-0000-000000000000", "0000000000000000", "---", " ", "null", "Unknown", "a\0b",
        String(repeating: "x", count: 501),
    ])
    func `what names nobody is no identifier`(value: String) { #expect(!InstallKeys.isUsable(value)) }

    @Test(arguments: ["1", "00000000-0000-0000-0000-000000000001", "device-1", String(repeating: "x", count: 500)])
    func `what tells one from another is an identifier`(value: String) { #expect(InstallKeys.isUsable(value)) }

    @Test(
        arguments: [
            ("aurum_click=abc", "abc"), ("utm_source=x&gclid=G1", "G1"), ("gclid=G1&aurum_click=abc", "abc"),
            ("aurum_click%3Dabc%26utm_source%3Dx", "abc"), ("utm_source=google-play&utm_medium=organic", nil),
            ("aurum_click=", nil), ("aurum_click=0", nil), ("", nil), ("%ZZ", nil),
        ] as [(String, String?)])
    func `the click id of an install referrer is read`(referrer: String, click: String?) {
        #expect(ClickIDs.inReferrer(referrer) == click)
    }

    @Test func `the click id of a deep link is that of its query`() {
        #expect(ClickIDs.inAddress("shop://offer/7?aurum_click=abc#x") == "abc")
        #expect(ClickIDs.inAddress("https://shop.example/a?x=1&fbclid=F") == "F")
        #expect(ClickIDs.inAddress("shop://offer/7") == nil && ClickIDs.inAddress(nil) == nil)
    }
}
