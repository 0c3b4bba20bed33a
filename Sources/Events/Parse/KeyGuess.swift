/// The names that came last behind another: most events of a body have the same members in the same order, and
/// comparing with a guess costs less than finding where a name ends and looking it up.
///
/// A guess is only ever a shortcut to the same answer: its bytes and the closing quote are compared in full.
struct KeyGuess {
    var low: UInt64 = 0
    var high: UInt64 = 0
    var lowMask: UInt64 = 0
    var highMask: UInt64 = 0
    var count = 0
    /// The empty name is unknown to every table, so that a guess that was never set is right as well.
    var code = KeyTable.unknown

    /// Places for the names behind each name of one table, and for the first one; two guesses a place.
    static let guessesPerTable = 512
    static let first = 510

    /// The first guess of what follows the name with this code.
    @inline(__always)
    static func place(behind code: Int) -> Int { (code &+ 1) &* 2 }

    @inline(__always)
    func matches(_ cursor: UnsafePointer<UInt8>) -> Bool {
        ByteScan.word(cursor) & lowMask == low && ByteScan.word(cursor + 8) & highMask == high && cursor[count] == 0x22
    }
}
