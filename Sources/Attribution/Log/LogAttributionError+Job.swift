internal import Runtime

extension LogAttributionError {
    /// A run that found others working and waiting comes again after this.
    package static let busyFor: Duration = .seconds(60)

    /// What a job throws that ended with this.
    package var ofJob: any Error {
        switch self {
        case .cancelled: CancellationError()
        case .busy: JobPostponement(by: Self.busyFor)
        // Temporary files may find room later; nothing else gets better by itself.
        case .storage: JobFault(tag, sentence)
        default: JobFault(tag, sentence, retry: .never)
        }
    }
}
