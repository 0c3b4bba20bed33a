internal import Synchronization

/// The numbered texts of one column of one shard in one segment, read back. Grows with the blocks that are read.
final class StoredTexts: TextDictionary {
    let id = DictionaryNumber.next()

    private struct State {
        var bytes: [UInt8] = []
        /// Where each text starts, by number less one, and where the last ends.
        var starts: [UInt32] = [0]
        /// Numbers that were lost with a damaged block.
        var lost: [Range<UInt32>] = []
        var hasEscapes = false
        /// The number of the empty text, or 0.
        var emptyCode: UInt32 = 0
    }

    private let state = Mutex(State())
    /// More than any dictionary holds: a full one ends its segment.
    private static let textsMax = 1 << 22
    private static let bytesMax = 256 << 20

    var count: Int { state.withLock { $0.starts.count - 1 } }

    /// Whether some text is written with escapes, so that two numbers may mean the same text.
    var hasEscapes: Bool { state.withLock { $0.hasEscapes } }

    var emptyCode: UInt32 { state.withLock { $0.emptyCode } }

    var hasEmpty: Bool { emptyCode != 0 }

    /// Adds the texts of a block; gaps before `first` are lost ones. false when the bytes make no sense.
    func add(first: Int, count: Int, entries: [UInt8], uuids: [UInt8]) -> Bool {
        state.withLock { state in
            guard first <= Self.textsMax else { return false }
            if state.starts.count < first {
                state.lost.append(UInt32(state.starts.count)..<UInt32(first))
                let gap = first - state.starts.count
                state.starts.append(contentsOf: repeatElement(UInt32(state.bytes.count), count: gap))
            }
            guard state.starts.count == first else { return state.starts.count > first }
            return entries.withUnsafeBytes { raw in
                var reader = StreamReader(raw)
                var uuid = 0
                for _ in 0..<count {
                    guard state.starts.count <= Self.textsMax, state.bytes.count <= Self.bytesMax else { return false }
                    guard let length = reader.varint() else { return false }
                    if length == 0 {
                        guard uuid + 16 <= uuids.count else { return false }
                        let words = uuids.withUnsafeBytes {
                            (
                                $0.loadUnaligned(fromByteOffset: uuid, as: UInt64.self),
                                $0.loadUnaligned(fromByteOffset: uuid + 8, as: UInt64.self)
                            )
                        }
                        HoleText.append(words.0, words.1, hyphens: true, to: &state.bytes)
                        uuid += 16
                    } else {
                        guard let text = reader.slice(length - 1) else { return false }
                        if !state.hasEscapes, text.contains(0x5c) { state.hasEscapes = true }
                        if text.isEmpty { state.emptyCode = UInt32(state.starts.count) }
                        state.bytes.append(contentsOf: text)
                    }
                    state.starts.append(UInt32(state.bytes.count))
                }
                return true
            }
        }
    }

    /// Whether every number is one of a text that is there.
    func knows(_ codes: [UInt32]) -> Bool {
        state.withLock { state in
            let end = UInt32(state.starts.count)
            var areKnown = true
            for code in codes where code &- 1 >= end &- 1 { areKnown = false }
            guard areKnown, !state.lost.isEmpty else { return areKnown }
            return codes.allSatisfy { code in !state.lost.contains { $0.contains(code) } }
        }
    }

    /// The bytes as they stood in the event; nil for a number that is unknown or lost.
    func raw(_ code: UInt32) -> [UInt8]? {
        state.withLock { state in
            guard code > 0, Int(code) < state.starts.count, !state.lost.contains(where: { $0.contains(code) }) else {
                return nil
            }
            return Array(state.bytes[Int(state.starts[Int(code) - 1])..<Int(state.starts[Int(code)])])
        }
    }

    func text(_ code: UInt32) -> String {
        guard let raw = raw(code) else { return "" }
        return EscapedText.decoded(raw)
    }
}

/// Texts that get their numbers when they are first seen.
final class GrowingTexts: TextDictionary {
    let id = DictionaryNumber.next()
    private let state = Mutex<(texts: [String], numbers: [String: UInt32])>(([], [:]))

    var count: Int { state.withLock { $0.texts.count } }

    func text(_ code: UInt32) -> String { state.withLock { $0.texts[Int(code) - 1] } }

    func number(_ text: String) -> UInt32 {
        state.withLock { state in
            if let known = state.numbers[text] { return known }
            state.texts.append(text)
            state.numbers[text] = UInt32(state.texts.count)
            return UInt32(state.texts.count)
        }
    }
}

/// Text between the quotes of a JSON string.
enum EscapedText {
    static func decoded(_ raw: [UInt8]) -> String {
        guard raw.contains(0x5c) else { return String(decoding: raw, as: UTF8.self) }
        let padded = raw + [UInt8](repeating: 0, count: ByteScan.padding)
        return padded.withUnsafeBufferPointer { buffer in
            guard let start = buffer.baseAddress else { return "" }
            let bytes = [UInt8](unsafeUninitializedCapacity: raw.count + 8) { target, filled in
                guard let out = target.baseAddress else { return }
                filled = JSONEscape.decode(start, raw.count, into: out)
            }
            return String(decoding: bytes, as: UTF8.self)
        }
    }
}
