import AurumCore
import Connectors
import Leads
import Runtime
import TestSupport
import Testing
import Validation

@Suite struct EgressTests {
    @Test(arguments: [
        "127.0.0.1", "127.9.9.9", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1",
        "::",
        "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "2002:0a00:0001::1",
        "2001:db8::1", "2001::1", "localhost", "", "1.2.3", "0x7f.1",
    ])
    func `an address inside is refused`(address: String) {
        #expect(throws: EgressGuard.Refused.self) { try EgressGuard(allowLoopback: false).check(address) }
    }

    @Test(arguments: [
        "1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.128.0.1", "11.0.0.1", "2606:4700::1111",
        "::ffff:8.8.8.8",
    ])
    func `a public address is permitted`(address: String) throws {
        try EgressGuard(allowLoopback: false).check(address)
    }

    @Test func `loopback is permitted by configuration only, and nothing else with it`() throws {
        let open = EgressGuard(allowLoopback: true)
        try open.check("127.0.0.1")
        try open.check("::1")
        for address in ["10.0.0.1", "169.254.169.254", "192.168.0.1", "fe80::1"] {
            #expect(throws: EgressGuard.Refused.self) { try open.check(address) }
        }
    }

    @Test func `a name that leads inside is refused after it was resolved, and no byte is sent`() async throws {
        try await withBuyers([FakeBuyerConfiguration(code: "b")], allowLoopback: false) { server, url, client in
            let base = url.replacing("127.0.0.1", with: "localhost") + "/b"
            let buyer = try BuyerConformance.buyer(base: base)
            let now = SystemWallClock().now
            let ping = BuyerPing(id: UID(now: now), leadType: "rooftop", zip: "11215", score: 80, attributes: [:])
            let answer = await client.ping(ping, buyer: buyer, credentials: BuyerCredentials(), timeout: .seconds(2))
            if case .unreachable = answer {} else { Issue.record("\(answer)") }
            let post = BuyerPost(
                leg: UID(now: now), lead: UID(now: now), token: "x", contact: LeadContact(), attributes: [:],
                certificate: [:], certificateSalt: "", attempt: 1, fence: Fence(rawValue: 1))
            let sent = await client.post(post, buyer: buyer, credentials: BuyerCredentials(), timeout: .seconds(2))
            if case .notSent = sent {} else { Issue.record("\(sent)") }
            #expect(server.buyer("b")?.log.isEmpty == true)
        }
    }

    @Test(arguments: [
        "http://buyer.example/post", "https://user:pw@buyer.example/post", "ftp://buyer.example/", "buyer",
        "http://127.0.0.1:1/",
    ])
    func `a buyer's endpoint must be HTTPS without credentials`(url: String) {
        #expect(throws: LeadIntakeError.self) {
            try BuyerBody(
                ["name": "B", "post": .string(url), "price": "1.00", "leadTypes": ["rooftop"]], code: "b",
                leadTypes: ["rooftop"], allowLoopback: false)
        }
    }
}
