/// A regular expression compiled to a table: one step a byte, whatever the text. No backtracking, so no pattern and no
/// text can make it slow.
///
/// Knows literals, `.`, classes, `\d \w \s` and their opposites, groups, `|`, `* + ? {m,n}`, and `^` and `$` at the
/// ends of an alternative. Without anchors it finds the pattern anywhere, as JSON Schema says.
struct PatternMachine: Sendable {
    enum Failure: Error, Equatable { case tooLong, tooComplex, malformed(at: Int) }

    static let bytesMax = 256
    private static let statesMax = 1000

    private let classes: [UInt8]
    private let classCount: Int
    private let table: [UInt16]
    private let accepting: [Bool]

    func matches(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        var state = 0
        for byte in text { state = Int(table[state &* classCount &+ Int(classes[Int(byte)])]) }
        return accepting[state]
    }

    func matches(_ text: String) -> Bool {
        Array(text.utf8).withUnsafeBufferPointer { matches($0) }
    }

    init(_ pattern: String) throws(Failure) {
        guard pattern.utf8.count <= Self.bytesMax else { throw .tooLong }
        var parser = PatternParser(pattern)
        let automaton = try parser.build()
        (classes, classCount) = Self.byteClasses(automaton)
        var sets: [[Int]] = [automaton.closure([automaton.start])]
        var known: [[Int]: Int] = [sets[0]: 0]
        var table: [UInt16] = []
        var next = 0
        let samples = Self.samples(classes, classCount)
        while next < sets.count {
            for sample in samples {
                let target = automaton.closure(automaton.step(sets[next], sample))
                if known[target] == nil {
                    guard sets.count < Self.statesMax else { throw .tooComplex }
                    known[target] = sets.count
                    sets.append(target)
                }
                table.append(UInt16(known[target] ?? 0))
            }
            next += 1
        }
        self.table = table
        accepting = sets.map { $0.contains(automaton.accept) }
    }

    /// Bytes that no edge tells apart are one class.
    private static func byteClasses(_ automaton: PatternAutomaton) -> ([UInt8], Int) {
        var borders: Set<Int> = [0]
        for edge in automaton.edges {
            borders.insert(Int(edge.low))
            borders.insert(Int(edge.high) + 1)
        }
        var classes: [UInt8] = []
        var count = 0
        for byte in 0..<256 {
            if borders.contains(byte) { count += 1 }
            classes.append(UInt8(truncatingIfNeeded: count - 1))
        }
        return (classes, count)
    }

    /// One byte of each class.
    private static func samples(_ classes: [UInt8], _ count: Int) -> [UInt8] {
        (0..<count).map { number in
            UInt8(truncatingIfNeeded: classes.firstIndex(of: UInt8(truncatingIfNeeded: number)) ?? 0)
        }
    }
}

/// States joined by edges over byte ranges and by empty edges.
struct PatternAutomaton {
    struct Edge {
        var from: Int
        var low: UInt8
        var high: UInt8
        var to: Int
    }

    private(set) var edges: [Edge] = []
    private var byState: [[Int]] = []
    private var empty: [[Int]] = []
    var start = 0
    var accept = 0
    static let statesMax = 4000

    mutating func state() -> Int {
        byState.append([])
        empty.append([])
        return empty.count - 1
    }

    var stateCount: Int { empty.count }

    mutating func connect(_ from: Int, _ to: Int) { empty[from].append(to) }

    mutating func connect(_ from: Int, _ range: ClosedRange<UInt8>, _ to: Int) {
        byState[from].append(edges.count)
        edges.append(Edge(from: from, low: range.lowerBound, high: range.upperBound, to: to))
    }

    /// The states reached without a byte, in order.
    func closure(_ states: [Int]) -> [Int] {
        var reached = Set(states)
        var open = states
        while let state = open.popLast() {
            for target in empty[state] where reached.insert(target).inserted { open.append(target) }
        }
        return reached.sorted()
    }

    func step(_ states: [Int], _ byte: UInt8) -> [Int] {
        states.flatMap { state in
            byState[state].compactMap { edges[$0].low <= byte && byte <= edges[$0].high ? edges[$0].to : nil }
        }
    }
}

/// Reads a pattern and builds its automaton piece by piece.
private struct PatternParser {
    private typealias Piece = (from: Int, to: Int)

    private let bytes: [UInt8]
    private var index = 0
    private var automaton = PatternAutomaton()
    private static let repeatMax = 256

    init(_ pattern: String) { bytes = Array(pattern.utf8) }

    private var peek: UInt8? { index < bytes.count ? bytes[index] : nil }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard peek == byte else { return false }
        index += 1
        return true
    }

    private func failure() -> PatternMachine.Failure { .malformed(at: index) }

    /// Alternatives of the whole pattern, each with its own anchors.
    mutating func build() throws(PatternMachine.Failure) -> PatternAutomaton {
        let start = automaton.state()
        let accept = automaton.state()
        (automaton.start, automaton.accept) = (start, accept)
        repeat {
            let before = automaton.state()
            automaton.connect(start, before)
            if !take(0x5e) { automaton.connect(before, 0...255, before) }
            let piece = try sequence()
            automaton.connect(before, piece.from)
            let after = automaton.state()
            automaton.connect(piece.to, after)
            if !take(0x24) { automaton.connect(after, 0...255, after) }
            automaton.connect(after, accept)
        } while take(0x7c)
        guard index == bytes.count else { throw failure() }
        return automaton
    }

    private mutating func sequence() throws(PatternMachine.Failure) -> Piece {
        let start = automaton.state()
        var end = start
        while let byte = peek, byte != 0x7c, byte != 0x29, !(byte == 0x24 && isEndAnchor) {
            let from = index
            var piece = try atom()
            piece = try repeated(piece, atomAt: from)
            automaton.connect(end, piece.from)
            end = piece.to
        }
        return (start, end)
    }

    private var isEndAnchor: Bool { index + 1 == bytes.count || bytes[index + 1] == 0x7c }

    private mutating func alternatives() throws(PatternMachine.Failure) -> Piece {
        let from = automaton.state()
        let to = automaton.state()
        repeat {
            let piece = try sequence()
            automaton.connect(from, piece.from)
            automaton.connect(piece.to, to)
        } while take(0x7c)
        return (from, to)
    }

    private mutating func atom() throws(PatternMachine.Failure) -> Piece {
        guard automaton.stateCount < PatternAutomaton.statesMax else { throw .tooComplex }
        guard let byte = peek else { throw failure() }
        index += 1
        switch byte {
        case 0x28:
            if take(0x3f) { guard take(0x3a) else { throw failure() } }
            let piece = try alternatives()
            guard take(0x29) else { throw failure() }
            return piece
        case 0x5b: return try characterClass()
        case 0x2e: return piece(of: [0...9, 11...127], andOthers: true)
        case 0x5c: return try escape()
        case 0x2a, 0x2b, 0x3f, 0x7b, 0x5e, 0x24:
            index -= 1
            throw failure()
        case 0x80...: return character(startingWith: byte)
        default: return piece(of: [byte...byte], andOthers: false)
        }
    }

    /// A character of several bytes.
    private mutating func character(startingWith first: UInt8) -> Piece {
        let from = automaton.state()
        var end = automaton.state()
        automaton.connect(from, first...first, end)
        while let byte = peek, byte & 0xc0 == 0x80 {
            index += 1
            let next = automaton.state()
            automaton.connect(end, byte...byte, next)
            end = next
        }
        return (from, end)
    }

    /// One ASCII byte of the ranges, or also any character past ASCII.
    private mutating func piece(of ranges: [ClosedRange<UInt8>], andOthers: Bool) -> Piece {
        let from = automaton.state()
        let to = automaton.state()
        for range in ranges { automaton.connect(from, range, to) }
        guard andOthers else { return (from, to) }
        for (lead, followers) in [(UInt8(0xc2)...0xdf, 1), (0xe0...0xef, 2), (0xf0...0xf4, 3)] {
            var state = automaton.state()
            automaton.connect(from, lead, state)
            for _ in 1..<followers {
                let next = automaton.state()
                automaton.connect(state, 0x80...0xbf, next)
                state = next
            }
            automaton.connect(state, 0x80...0xbf, to)
        }
        return (from, to)
    }

    private static let digits: [ClosedRange<UInt8>] = [0x30...0x39]
    private static let word: [ClosedRange<UInt8>] = [0x30...0x39, 0x41...0x5a, 0x5f...0x5f, 0x61...0x7a]
    private static let space: [ClosedRange<UInt8>] = [0x09...0x0d, 0x20...0x20]

    private static func opposite(_ ranges: [ClosedRange<UInt8>]) -> [ClosedRange<UInt8>] {
        let inside = Set(ranges.flatMap { Array($0) })
        return (UInt8(0)...127).filter { !inside.contains($0) }.map { $0...$0 }
    }

    /// The ranges of `\d` and its kind; nil for a plain escape. `isOpposite` takes characters past ASCII too.
    private static func named(_ letter: UInt8) -> (ranges: [ClosedRange<UInt8>], isOpposite: Bool)? {
        switch letter {
        case 0x64: (digits, false)
        case 0x44: (opposite(digits), true)
        case 0x77: (word, false)
        case 0x57: (opposite(word), true)
        case 0x73: (space, false)
        case 0x53: (opposite(space), true)
        default: nil
        }
    }

    private mutating func escape() throws(PatternMachine.Failure) -> Piece {
        guard let letter = peek else { throw failure() }
        index += 1
        if let named = Self.named(letter) { return piece(of: named.ranges, andOthers: named.isOpposite) }
        let byte = try escaped(letter)
        return piece(of: [byte...byte], andOthers: false)
    }

    private func escaped(_ letter: UInt8) throws(PatternMachine.Failure) -> UInt8 {
        switch letter {
        case 0x6e: 0x0a
        case 0x72: 0x0d
        case 0x74: 0x09
        // Letters and digits may mean something in other dialects: never guess.
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: throw .malformed(at: index - 1)
        default: letter
        }
    }

    private mutating func characterClass() throws(PatternMachine.Failure) -> Piece {
        let isNegated = take(0x5e)
        var ranges: [ClosedRange<UInt8>] = []
        var takesOthers = false
        var isFirst = true
        while isFirst || peek != 0x5d {
            isFirst = false
            guard let byte = peek else { throw failure() }
            index += 1
            var low = byte
            if byte == 0x5c {
                guard let letter = peek else { throw failure() }
                index += 1
                if let named = Self.named(letter) {
                    ranges += named.ranges
                    takesOthers = takesOthers || named.isOpposite
                    continue
                }
                low = try escaped(letter)
            }
            guard low < 0x80 else { throw .malformed(at: index - 1) }
            guard peek == 0x2d, index + 1 < bytes.count, bytes[index + 1] != 0x5d else {
                ranges.append(low...low)
                continue
            }
            index += 1
            guard var high = peek else { throw failure() }
            index += 1
            if high == 0x5c {
                guard let letter = peek else { throw failure() }
                index += 1
                high = try escaped(letter)
            }
            guard high >= low, high < 0x80 else { throw failure() }
            ranges.append(low...high)
        }
        index += 1
        if isNegated { return piece(of: Self.opposite(ranges), andOthers: !takesOthers) }
        return piece(of: ranges, andOthers: takesOthers)
    }

    // MARK: repetition

    private mutating func repeated(_ piece: Piece, atomAt start: Int) throws(PatternMachine.Failure) -> Piece {
        guard let byte = peek else { return piece }
        switch byte {
        case 0x2a, 0x2b, 0x3f:
            index += 1
            _ = take(0x3f)
            return loop(piece, mayBeAbsent: byte != 0x2b, mayRepeat: byte != 0x3f)
        case 0x7b: return try counted(piece, atomAt: start)
        default: return piece
        }
    }

    private mutating func loop(_ piece: Piece, mayBeAbsent: Bool, mayRepeat: Bool) -> Piece {
        let from = automaton.state()
        let to = automaton.state()
        automaton.connect(from, piece.from)
        automaton.connect(piece.to, to)
        if mayBeAbsent { automaton.connect(from, to) }
        if mayRepeat { automaton.connect(piece.to, piece.from) }
        return (from, to)
    }

    private mutating func number() -> Int? {
        var value: Int?
        while let byte = peek, byte &- 0x30 < 10, value ?? 0 <= Self.repeatMax {
            value = (value ?? 0) * 10 + Int(byte - 0x30)
            index += 1
        }
        return value
    }

    /// `{m}`, `{m,}` and `{m,n}`: the atom is read again for each copy.
    private mutating func counted(_ first: Piece, atomAt start: Int) throws(PatternMachine.Failure) -> Piece {
        let atomEnd = index
        index += 1
        guard let least = number() else { throw failure() }
        var most: Int? = least
        if take(0x2c) { most = number() }
        guard take(0x7d) else { throw failure() }
        let behind = index
        guard least <= Self.repeatMax, most ?? least <= Self.repeatMax, most ?? least >= least else {
            throw .tooComplex
        }
        let from = automaton.state()
        var end = from
        var copy: Piece? = first
        for number in 0..<max(most ?? least + 1, 0) {
            var piece: Piece
            if let ready = copy {
                piece = ready
                copy = nil
            } else {
                index = start
                piece = try atom()
                guard index == atomEnd else { throw failure() }
            }
            if number >= least { piece = loop(piece, mayBeAbsent: true, mayRepeat: most == nil) }
            automaton.connect(end, piece.from)
            end = piece.to
        }
        index = behind
        return (from, end)
    }
}
