/// Names of at most 15 bytes looked up by their bytes as two words; longer names are compared one by one.
///
/// Built once and never freed: the tables live as long as the process.
struct KeyTable: @unchecked Sendable {  // immutable after init
    private struct Entry {
        var low: UInt64
        var high: UInt64
        var code: Int
    }

    /// What an unknown name answers.
    static let unknown = -1
    private static let slots = 256

    private let entries: UnsafeMutablePointer<Entry>
    private let longNames: UnsafeMutableBufferPointer<LongName>

    private struct LongName {
        var bytes: UnsafeMutableBufferPointer<UInt8>
        var code: Int
    }

    init(_ names: [(String, Int)]) {
        entries = .allocate(capacity: Self.slots)
        entries.initialize(repeating: Entry(low: 0, high: 0, code: Self.unknown), count: Self.slots)
        var long: [LongName] = []
        for (name, code) in names {
            let bytes = Array(name.utf8)
            guard bytes.count < 16 else {
                let copy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: bytes.count)
                _ = copy.initialize(from: bytes)
                long.append(LongName(bytes: copy, code: code))
                continue
            }
            var words: (UInt64, UInt64) = (0, 0)
            for (index, byte) in bytes.enumerated() {
                if index < 8 {
                    words.0 |= UInt64(byte) << (8 * index)
                } else {
                    words.1 |= UInt64(byte) << (8 * (index - 8))
                }
            }
            var slot = Self.slot(words.0, words.1)
            while entries[slot].code != Self.unknown { slot = (slot + 1) & (Self.slots - 1) }
            entries[slot] = Entry(low: words.0, high: words.1, code: code)
        }
        longNames = .allocate(capacity: long.count)
        _ = longNames.initialize(from: long)
    }

    @inline(__always)
    private static func slot(_ low: UInt64, _ high: UInt64) -> Int {
        Int(truncatingIfNeeded: ((low ^ (high &* 0x9E37_79B9_7F4A_7C15)) &* 0xD6E8_FEB8_6659_FD93) &>> 56)
    }

    /// The code of a name given as its bytes, zero-extended to two words.
    @inline(__always)
    func code(_ low: UInt64, _ high: UInt64) -> Int {
        var slot = Self.slot(low, high)
        while true {
            let entry = entries + slot
            if entry.pointee.low == low && entry.pointee.high == high { return entry.pointee.code }
            if entry.pointee.code == Self.unknown { return Self.unknown }
            slot = (slot &+ 1) & (Self.slots &- 1)
        }
    }

    /// The code of a name of at most 15 bytes, read as words: may read 15 bytes past it.
    @inline(__always)
    func code(padded bytes: UnsafePointer<UInt8>, _ count: Int) -> Int {
        let low = ByteScan.word(bytes) & ByteScan.mask(count)
        return code(low, count > 8 ? ByteScan.word(bytes + 8) & ByteScan.mask(count &- 8) : 0)
    }

    /// The code of any name. Reads exactly `count` bytes.
    func code(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Int {
        guard count < 16 else {
            let name = UnsafeBufferPointer(start: bytes, count: count)
            for long in longNames where long.bytes.elementsEqual(name) { return long.code }
            return Self.unknown
        }
        var words: (UInt64, UInt64) = (0, 0)
        for index in 0..<count {
            if index < 8 {
                words.0 |= UInt64(bytes[index]) << (8 * index)
            } else {
                words.1 |= UInt64(bytes[index]) << (8 * (index - 8))
            }
        }
        return code(words.0, words.1)
    }
}

/// The tables of the contract, shared by every parser.
struct ContractKeys: Sendable {
    /// Codes of things that are no field of their own.
    enum Code {
        static let segmentProperties = 200
        static let contextPage = 201
        static let contextCampaign = 202
        static let contextDevice = 203
        static let contextApp = 204
        static let contextScreen = 205
        static let contextTraits = 206
        /// Members of the event that hold traits, or an address book entry, under another name.
        static let personal = 207
    }

    let top: KeyTable
    let campaign: KeyTable
    let context: KeyTable
    let consent: KeyTable
    let properties: KeyTable
    let types: KeyTable
    let page: KeyTable
    let contextCampaign: KeyTable
    let device: KeyTable
    let app: KeyTable
    let screen: KeyTable
    let os: KeyTable
    let library: KeyTable

    nonisolated(unsafe) static let shared: UnsafePointer<ContractKeys> = {  // immutable once made
        let keys = UnsafeMutablePointer<ContractKeys>.allocate(capacity: 1)
        keys.initialize(to: ContractKeys())
        return UnsafePointer(keys)
    }()

    private init() {
        func codes(_ names: [(String, EventField)]) -> [(String, Int)] { names.map { ($0.0, Int($0.1.rawValue)) } }
        top = KeyTable(
            codes(FieldNames.top.filter { $0.0 != "properties" })
                + [("properties", Code.segmentProperties)] + EventRewrite.personalMembers.map { ($0, Code.personal) })
        campaign = KeyTable(codes(FieldNames.campaign))
        context = KeyTable(
            codes(FieldNames.context + FieldNames.contextFallbacks.filter { $0.0 != "traits" }) + [
                ("page", Code.contextPage), ("campaign", Code.contextCampaign), ("device", Code.contextDevice),
                ("app", Code.contextApp), ("screen", Code.contextScreen), ("traits", Code.contextTraits),
            ])
        consent = KeyTable(codes(FieldNames.consent))
        properties = KeyTable(codes(FieldNames.properties))
        types = KeyTable(EventType.allCases.map { ($0.name, Int($0.rawValue)) })
        page = KeyTable(codes([("url", .pageURL), ("referrer", .pageReferrer), ("title", .pageTitle)]))
        contextCampaign = KeyTable(
            codes([
                ("id", .contextCampaignID), ("name", .contextCampaignName), ("source", .contextCampaignSource),
                ("medium", .contextCampaignMedium), ("term", .contextCampaignTerm),
                ("content", .contextCampaignContent),
            ]))
        device = KeyTable(
            codes([
                ("id", .contextDeviceID), ("advertisingId", .contextAdvertisingID), ("manufacturer", .deviceMaker),
                ("model", .deviceModel),
            ]))
        app = KeyTable(codes([("version", .appVersion), ("build", .appBuild)]))
        screen = KeyTable(codes([("width", .screenWidth), ("height", .screenHeight)]))
        os = KeyTable(codes([("name", .os), ("version", .osVersion)]))
        library = KeyTable(codes([("name", .library), ("version", .libraryVersion)]))
    }
}
