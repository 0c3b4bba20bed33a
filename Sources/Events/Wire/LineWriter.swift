package import AurumCore

/// Writes events as lines of our own, member by member, into one growing buffer.
struct LineWriter {
    private(set) var bytes: [UInt8] = []
    private var lineStart = 0
    private var isFirst = true

    init(capacity: Int) { bytes.reserveCapacity(capacity) }

    mutating func begin() {
        lineStart = bytes.count
        bytes.append(0x7b)
        isFirst = true
    }

    /// Closes the event and its line.
    mutating func end() {
        bytes.append(0x7d)
        endLine()
    }

    /// An event as it came, on a line of its own: the contract will say what is wrong with it.
    mutating func verbatim(_ text: JSONText) {
        lineStart = bytes.count
        bytes.append(contentsOf: text.bytes)
        endLine()
    }

    /// Line ends inside an event stand between tokens only, where a space means the same.
    private mutating func endLine() {
        for index in lineStart..<bytes.count where bytes[index] == 0x0a || bytes[index] == 0x0d { bytes[index] = 0x20 }
        bytes.append(0x0a)
    }

    // MARK: members

    mutating func member(_ name: StaticString, _ value: JSONText) {
        self.name(name)
        bytes.append(contentsOf: value.bytes)
    }

    mutating func member(_ name: StaticString, string: String) {
        self.name(name)
        bytes.append(contentsOf: JSONValue.quoted(string).utf8)
    }

    mutating func member(_ name: StaticString, literal: StaticString) {
        self.name(name)
        bytes.append(contentsOf: UnsafeBufferPointer(start: literal.utf8Start, count: literal.utf8CodeUnitCount))
    }

    /// A member under its own name (between its quotes), behind `prefix`.
    mutating func member(own name: UnsafeBufferPointer<UInt8>, prefix: StaticString = "", _ value: JSONText) {
        separate()
        bytes.append(0x22)
        bytes.append(contentsOf: UnsafeBufferPointer(start: prefix.utf8Start, count: prefix.utf8CodeUnitCount))
        bytes.append(contentsOf: name)
        bytes.append(0x22)
        bytes.append(0x3a)
        bytes.append(contentsOf: value.bytes)
    }

    mutating func member(own name: String, string: String) {
        separate()
        bytes.append(contentsOf: JSONValue.quoted(name).utf8)
        bytes.append(0x3a)
        bytes.append(contentsOf: JSONValue.quoted(string).utf8)
    }

    mutating func member(own name: String, integer: Int64) {
        separate()
        bytes.append(contentsOf: "\(JSONValue.quoted(name)):\(integer)".utf8)
    }

    /// An identifier: text as it is, a number as text, nothing for `null`; the contract refuses other values.
    mutating func identifier(_ name: StaticString, _ value: JSONText?) {
        guard let value, !value.isNull else { return }
        guard value.isNumber else { return member(name, value) }
        self.name(name)
        bytes.append(0x22)
        bytes.append(contentsOf: value.bytes)
        bytes.append(0x22)
    }

    /// A copy of a string that is kept elsewhere as well: left out when it is empty or would not fit.
    mutating func copy(_ name: StaticString, _ value: JSONText?, bytesMax: Int) {
        guard let value, value.isString, value.count > 2 else { return }
        guard value.count - 2 <= bytesMax || value.decodedCount <= bytesMax else { return }
        member(name, value)
    }

    /// Opens an object; `close` tells whether it got members and takes it back when it did not.
    mutating func open(_ name: StaticString) -> Mark {
        let mark = Mark(length: bytes.count, wasFirst: isFirst)
        self.name(name)
        bytes.append(0x7b)
        isFirst = true
        return mark
    }

    mutating func close(_ mark: Mark) {
        if isFirst {
            bytes.removeLast(bytes.count - mark.length)
            isFirst = mark.wasFirst
        } else {
            bytes.append(0x7d)
        }
    }

    struct Mark {
        fileprivate var length: Int
        fileprivate var wasFirst: Bool
    }

    private mutating func name(_ name: StaticString) {
        separate()
        bytes.append(0x22)
        bytes.append(contentsOf: UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
        bytes.append(0x22)
        bytes.append(0x3a)
    }

    private mutating func separate() {
        if isFirst { isFirst = false } else { bytes.append(0x2c) }
    }
}

/// A body of a foreign format as lines of our own: one line an event, in the order of the body.
package struct TranslatedBody: Sendable {
    /// An event that cannot be translated stands here as it came, on one line, and will be quarantined.
    package var lines: [UInt8] = []
    package var events = 0
    /// The write key that the body carries.
    package var key: String?
    /// The client's clock when it sent the body.
    package var sentAt: Timestamp?
    package var isHistorical = false
}

/// Names that a foreign member must not have beside the contract's own.
enum ForeignNames {
    static let contract = KeyTable(FieldNames.top.map { ($0.0, Int($0.1.rawValue)) } + [("writeKey", 0)])

    /// Whether a member of this name would be taken for a field of the contract.
    static func collides(_ name: UnsafeBufferPointer<UInt8>) -> Bool { contract.code(name) != KeyTable.unknown }
}
