/// A shipped data file that cannot be used: which file, which row or line, and what is wrong. It stops the start.
package struct SolarDataError: Error, Equatable, CustomStringConvertible {
    package let file: String
    package let row: String
    package let problem: String

    package init(file: String, row: String, problem: String) {
        self.file = file
        self.row = row
        self.problem = problem
    }

    package var description: String { "\(file), \(row): \(problem)" }
}
