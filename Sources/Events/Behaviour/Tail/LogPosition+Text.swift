extension LogPosition {
    /// Reads what `description` writes; nil for anything else.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0].utf8.count == 8, parts[1].utf8.count == 8,
            let segment = UInt32(parts[0], radix: 16), let offset = UInt32(parts[1], radix: 16),
            let row = UInt32(parts[2])
        else { return nil }
        self.init(segment: segment, offset: offset, row: row)
        guard description == String(text) else { return nil }
    }
}
