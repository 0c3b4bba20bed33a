internal import AurumCore

/// One identifier of a person.
package struct PersonIdentifier: Hashable, Sendable {
    package enum Namespace: UInt8, Sendable, CaseIterable { case anonymous = 1, user, device, click, event, group }

    package var namespace: Namespace
    package var value: String

    package init(_ namespace: Namespace, _ value: String) {
        self.namespace = namespace
        self.value = value
    }
}

/// The secret of this installation, and the keyed hashes that come from it.
struct InstallationSecret: Sendable {
    static let byteCount = 32
    fileprivate let words: (UInt64, UInt64, UInt64, UInt64)

    /// - Parameter bytes: exactly `byteCount` random bytes.
    init(_ bytes: [UInt8]) {
        precondition(bytes.count == Self.byteCount)
        words = bytes.withUnsafeBytes {
            (
                $0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self),
                $0.loadUnaligned(fromByteOffset: 16, as: UInt64.self),
                $0.loadUnaligned(fromByteOffset: 24, as: UInt64.self)
            )
        }
    }

    /// Tells hashes under this secret from hashes under another; gives nothing of it away.
    var identity: UInt64 { SipHash(key: (words.1, words.3), tweak: 4).hash("dedup").high }

    /// Hashes of one organisation and app: computed once a request.
    func keys(org: String, app: String) -> IdentityKeys {
        let org = SipHash(key: (words.0, words.1), tweak: 1).hash(org)
        let app = SipHash(key: (words.0 ^ org.high, words.1 ^ org.low), tweak: 2).hash(app)
        return IdentityKeys(org: (words.2 ^ org.high, words.3 ^ org.low), app: (words.2 ^ app.high, words.3 ^ app.low))
    }

    /// The check that a receipt carries: 64 bits of what it points at.
    func receiptCheck(segment: UInt32, offset: UInt32, request: UInt16, nonce: UInt64) -> UInt64 {
        let words = [UInt64(segment) << 32 | UInt64(offset), UInt64(request), nonce, 0]
        return words.withUnsafeBytes { bytes in
            guard let start = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return 0 }
            return SipHash(key: (self.words.1, self.words.2), tweak: 3).hash(start, 24).high
        }
    }
}

extension InstallationSecret {
    /// 128 bits that nobody can make without the secret, as 32 hex digits.
    func signature(_ text: String) -> String {
        let hash = SipHash(key: (words.1, words.2), tweak: 4).hash(text)
        return KeyText.hex(hash.high) + KeyText.hex(hash.low)
    }
}

/// Keyed hashes inside one organisation and app.
struct IdentityKeys: Sendable {
    /// Key of persons: they are one across the apps of an organisation.
    let org: (UInt64, UInt64)
    /// Key of event ids, and what sets trace ids of one app apart.
    let app: (UInt64, UInt64)

    /// The identity of an event id for de-duplication; never (0, 0), which marks an empty place. Ids of 16 bytes in hex
    /// are hashed as these bytes, so that the log's own columns give the same answer.
    @inline(__always)
    func event(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> (high: UInt64, low: UInt64) {
        if count == 36, let words = HoleText.uuid(bytes) { return event(words.high, words.low, isUUID: true) }
        if count == 32, let words = HoleText.hex(bytes) { return event(words.high, words.low, isUUID: false) }
        return Self.filled(SipHash(key: app).hash(bytes, count))
    }

    /// The same for an id of 16 bytes, as they stand in memory.
    @inline(__always)
    func event(_ high: UInt64, _ low: UInt64, isUUID: Bool) -> (high: UInt64, low: UInt64) {
        Self.filled(SipHash(key: app, tweak: isUUID ? 1 : 2).hash(high, low))
    }

    @inline(__always)
    private static func filled(_ hash: (high: UInt64, low: UInt64)) -> (high: UInt64, low: UInt64) {
        (hash.high, hash.low | (hash.high == 0 && hash.low == 0 ? 1 : 0))
    }

    @inline(__always)
    func person(
        _ namespace: PersonIdentifier.Namespace, _ bytes: UnsafePointer<UInt8>, _ count: Int
    ) -> (high: UInt64, low: UInt64) {
        SipHash(key: org, tweak: UInt64(namespace.rawValue)).hash(bytes, count)
    }

    func person(_ identifier: PersonIdentifier) -> (high: UInt64, low: UInt64) {
        SipHash(key: org, tweak: UInt64(identifier.namespace.rawValue)).hash(identifier.value)
    }

    func event(id: String) -> (high: UInt64, low: UInt64) {
        let bytes = Array(id.utf8) + [UInt8](repeating: 0, count: 8)
        return bytes.withUnsafeBufferPointer { buffer in
            buffer.baseAddress.map { event($0, buffer.count - 8) } ?? (0, 1)
        }
    }

    /// The trace id of a person who brings none: the person's hash, set apart by app.
    @inline(__always)
    func trace(ofPerson person: (high: UInt64, low: UInt64)) -> (high: UInt64, low: UInt64) {
        (IdentityKeys.mixed(person.high ^ app.0), IdentityKeys.mixed(person.low ^ app.1))
    }

    /// A bijection of 64 bits. Source: SplitMix64's finaliser.
    @inline(__always)
    private static func mixed(_ word: UInt64) -> UInt64 {
        var mixed = (word ^ (word &>> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed &>> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed &>> 31)
    }

    /// What the row table keeps of a trace id.
    @inline(__always)
    static func traceHash(_ trace: (high: UInt64, low: UInt64)) -> UInt64 {
        trace.high ^ (trace.low &<< 17 | trace.low &>> 47)
    }

    static func traceHash(_ trace: UID) -> UInt64 { traceHash((trace.high, trace.low)) }
}
