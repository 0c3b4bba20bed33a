/// One byte a row, 1 where it is selected. Loops here are plain so that the compiler makes them wide.
struct RowMask: Equatable {
    private(set) var bytes: [UInt8]

    init(rowCount: Int, value: Bool) { bytes = [UInt8](repeating: value ? 1 : 0, count: rowCount) }

    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// Rows whose outcome has its bit set in `allowed`.
    static func of(_ outcomes: [UInt8], allowed: UInt8, rowCount: Int) -> RowMask {
        RowMask(map(outcomes, count: rowCount) { $0 < 8 ? (allowed &>> $0) & 1 : 0 })
    }

    static func of(_ values: [Int64], _ holds: (Int64) -> Bool) -> RowMask {
        RowMask(map(values, count: values.count) { holds($0) ? 1 : 0 })
    }

    /// Rows whose number fits; rows without one have NaN, which fits nothing.
    static func of(_ numbers: [Double], _ test: ColumnTest.Kind) -> RowMask {
        let count = numbers.count
        switch test {
        case .number(.equal, let bound): return RowMask(map(numbers, count: count) { $0 == bound ? 1 : 0 })
        case .number(.notEqual, let bound):
            return RowMask(map(numbers, count: count) { $0 == $0 && $0 != bound ? 1 : 0 })
        case .number(.less, let bound): return RowMask(map(numbers, count: count) { $0 < bound ? 1 : 0 })
        case .number(.lessOrEqual, let bound): return RowMask(map(numbers, count: count) { $0 <= bound ? 1 : 0 })
        case .number(.greater, let bound): return RowMask(map(numbers, count: count) { $0 > bound ? 1 : 0 })
        case .number(.greaterOrEqual, let bound): return RowMask(map(numbers, count: count) { $0 >= bound ? 1 : 0 })
        case .numbers(let known): return RowMask(map(numbers, count: count) { known.contains($0) ? 1 : 0 })
        case .equal, .order, .contains, .startsWith, .exists: return RowMask(rowCount: count, value: false)
        }
    }

    /// The verdict of each row's code; verdicts that are neither 0 nor 1 are found out and kept.
    /// - Parameter verdicts: one for each code that occurs.
    static func of(_ codes: [UInt32], _ verdicts: inout [UInt8], _ findOut: (UInt32) -> Bool) -> RowMask {
        let bytes = [UInt8](unsafeUninitializedCapacity: codes.count) { out, filled in
            verdicts.withUnsafeMutableBufferPointer { verdicts in
                codes.withUnsafeBufferPointer { codes in
                    for row in 0..<codes.count {
                        let code = codes[row]
                        var verdict = verdicts[Int(code)]
                        if verdict > 1 {
                            verdict = findOut(code) ? 1 : 0
                            verdicts[Int(code)] = verdict
                        }
                        out[row] = verdict
                    }
                }
            }
            filled = codes.count
        }
        return RowMask(bytes)
    }

    static func highest(_ codes: [UInt32]) -> UInt32 {
        codes.withUnsafeBufferPointer { codes in
            var highest: UInt32 = 0
            for code in codes { highest = max(highest, code) }
            return highest
        }
    }

    private static func map<Value>(_ values: [Value], count: Int, _ byte: (Value) -> UInt8) -> [UInt8] {
        precondition(values.count >= count, "a column is shorter than its block")
        return [UInt8](unsafeUninitializedCapacity: count) { out, filled in
            values.withUnsafeBufferPointer { values in
                for row in 0..<count { out[row] = byte(values[row]) }
            }
            filled = count
        }
    }

    // MARK: combining

    mutating func keep(_ times: [Int64], from: Int64, to: Int64) {
        // The end is not in the range, but a range without an end has every time.
        let last = to == .max ? .max : to &- (to == .min ? 0 : 1)
        bytes.withUnsafeMutableBufferPointer { bytes in
            times.withUnsafeBufferPointer { times in
                for row in 0..<min(bytes.count, times.count) {
                    bytes[row] &= (times[row] >= from ? 1 : 0) & (times[row] <= last ? 1 : 0)
                }
            }
        }
    }

    mutating func clear(_ rows: Range<Int>) {
        for row in rows.clamped(to: 0..<bytes.count) { bytes[row] = 0 }
    }

    mutating func formAnd(_ other: RowMask) { combine(other) { $0 & $1 } }
    mutating func formOr(_ other: RowMask) { combine(other) { $0 | $1 } }

    mutating func invert() {
        bytes.withUnsafeMutableBufferPointer { bytes in
            for row in 0..<bytes.count { bytes[row] ^= 1 }
        }
    }

    private mutating func combine(_ other: RowMask, _ byte: (UInt8, UInt8) -> UInt8) {
        bytes.withUnsafeMutableBufferPointer { bytes in
            other.bytes.withUnsafeBufferPointer { other in
                for row in 0..<min(bytes.count, other.count) { bytes[row] = byte(bytes[row], other[row]) }
            }
        }
    }

    // MARK: reading

    var count: Int {
        bytes.withUnsafeBufferPointer { bytes in
            var count = 0
            var row = 0
            // Runs short enough for a byte to count, which the compiler turns into wide additions.
            while row < bytes.count {
                let end = min(bytes.count, row + 255)
                var part: UInt8 = 0
                for index in row..<end { part &+= bytes[index] }
                count += Int(part)
                row = end
            }
            return count
        }
    }

    var hasAny: Bool { bytes.withUnsafeBufferPointer { $0.contains(1) } }

    var selection: RowSelection {
        let count = self.count
        if count == 0 { return .none }
        if count == bytes.count { return .all }
        // One place more than needed: the loop writes before it knows.
        var rows = [UInt32](unsafeUninitializedCapacity: count + 1) { out, filled in
            bytes.withUnsafeBufferPointer { bytes in
                var place = 0
                for row in 0..<bytes.count {
                    out[place] = UInt32(truncatingIfNeeded: row)
                    place &+= Int(bytes[row])
                }
            }
            filled = count
        }
        rows.reserveCapacity(count)
        return .some(rows)
    }
}
