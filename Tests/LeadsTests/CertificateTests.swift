import AurumCore
import Database
import Foundation
import Leads
import TestSupport
import Testing

@Suite struct CertificateTests {
    private struct Sealed {
        let desk: LeadDesk
        let file: [UInt8]
        let salt: String
        var verifier: CertificateVerifier { CertificateVerifier(keys: desk.issuer.publicKeys) }
    }

    private func sealed() async throws -> Sealed {
        let desk = try LeadDesk()
        let receipt = try await desk.accept(desk.draft(1))
        let file = try #require(try await desk.reads.certificate(org: LeadDesk.org, id: receipt.id))
        let salt = try await desk.database.read("test.salt") { tx in
            try tx.value([UInt8].self, "SELECT salt FROM certificates")
        }
        return Sealed(desk: desk, file: Array(file.utf8), salt: Hex.encode(salt ?? []))
    }

    @Test func `a sealed certificate verifies offline, with and without contact`() async throws {
        let sealed = try await sealed()
        let (now, verifier) = (sealed.desk.clock.now, sealed.verifier)
        #expect(verifier.verify(sealed.file, now: now) == .valid)
        #expect(
            verifier.verify(
                sealed.file, now: now, phone: "(917) 200-0001", email: "Ana1@Example.com", salt: sealed.salt) == .valid)
        #expect(verifier.verify(sealed.file, now: now, phone: "9172000002", salt: sealed.salt) == .contactMismatch)
        #expect(verifier.verify(sealed.file, now: now, phone: "9172000001", salt: "00") == .contactMismatch)
        #expect(verifier.verify(sealed.file, now: now + .seconds(6 * 365 * 86_400)) == .expired)
        #expect(CertificateVerifier(keys: [:]).verify(sealed.file, now: now) == .wrongKey)
        #expect(!String(decoding: sealed.file, as: UTF8.self).contains("9172000001"))
    }

    @Test func `every single-bit change of a certificate is found`() async throws {
        let sealed = try await sealed()
        let (now, verifier) = (sealed.desk.clock.now, sealed.verifier)
        var random = SeededRandom(seed: 400)
        let all = sealed.file.count * 8
        for round in 0..<soakCount(25 * 400) {
            let bit = Int.random(in: 0..<all, using: &random)
            var file = sealed.file
            file[bit / 8] ^= 1 << (bit % 8)
            #expect(verifier.verify(file, now: now) != .valid, "bit \(bit), round \(round), seed 400")
        }
    }

    @Test func `what was changed is named`() async throws {
        let sealed = try await sealed()
        let (now, verifier) = (sealed.desk.clock.now, sealed.verifier)
        let text = String(decoding: sealed.file, as: UTF8.self)
        func verdict(_ old: String, _ new: String) -> CertificateVerdict {
            verifier.verify(Array(text.replacing(old, with: new).utf8), now: now)
        }
        #expect(verdict("may call me.", "may call me twice.") == .altered("disclosure"))
        #expect(verdict("\"scope\":\"rooftop\"", "\"scope\":\"commercial\"") == .altered("scope"))
        #expect(verdict("\"shown\":\"disclosure\"", "\"shown\":\"nothing\"") == .chainBroken(at: 1))
        #expect(verdict("\"typed\":\"I agree\"", "\"typed\":\"no\"") == .chainBroken(at: 2))
        #expect(verdict("\"hash\":\"", "\"hash\":\"0") == .altered("hash"))
        #expect(verifier.verify(Array((text + "\n").utf8), now: now) == .altered("file"))
    }

    @Test func `the signing key is made once, with nobody else able to read it`() throws {
        let folder = TemporaryFolder()
        let path = folder.file("certificate.key")
        let clock = ManualWallClock()
        let first = try CertificateIssuer.open(keyFile: path, issuer: "a", clock: clock)
        let second = try CertificateIssuer.open(keyFile: path, issuer: "a", clock: clock)
        #expect(first.publicKeys == second.publicKeys)
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? NSNumber
        #expect(mode?.intValue == 0o600)
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
        #expect(throws: SigningKeyError.readableByOthers(path: path)) {
            try CertificateIssuer.open(keyFile: path, issuer: "a", clock: clock)
        }
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        try Data("rubbish".utf8).write(to: URL(fileURLWithPath: path))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        #expect(throws: SigningKeyError.malformed(path: path)) {
            try CertificateIssuer.open(keyFile: path, issuer: "a", clock: clock)
        }
    }
}
