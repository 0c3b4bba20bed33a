/// Cells that a spreadsheet will not run.
enum CSVCell {
    /// The bytes that begin a formula.
    static let formulaStarts = Array("=+-@\t\r\n".utf8)

    /// A text as it stands in CSV; one that a spreadsheet would run as a formula begins with an apostrophe.
    static func text(_ text: String) -> String {
        let safe = text.utf8.first.map { formulaStarts.contains($0) } == true ? "'" + text : text
        // By scalars and bytes: as characters, CR LF is one and a combining mark hides what it stands on.
        guard safe.utf8.contains(where: { ",\"\n\r".utf8.contains($0) }) else { return safe }
        var quoted = "\""
        for scalar in safe.unicodeScalars {
            if scalar == "\"" { quoted.unicodeScalars.append("\"") }
            quoted.unicodeScalars.append(scalar)
        }
        return quoted + "\""
    }
}
