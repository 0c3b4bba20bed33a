extension String {
    /// The same text as every database keeps it: PostgreSQL has no text with a NUL character, so U+FFFD stands for it.
    var storable: String {
        guard utf8.contains(0) else { return self }
        var clean = ""
        for scalar in unicodeScalars { clean.unicodeScalars.append(scalar.value == 0 ? "\u{FFFD}" : scalar) }
        return clean
    }
}
