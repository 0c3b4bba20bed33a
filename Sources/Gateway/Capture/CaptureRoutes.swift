package import AurumCore
package import Database
package import Events
internal import HTTPTypes
internal import Hummingbird
package import Logging
package import Telemetry

/// What an app's settings say to capture.
package struct AppCaptureSettings: Sendable, Equatable {
    /// Currency of money that names none.
    package var defaultCurrency = "USD"
    /// Hosts that clicks may lead to, beside those of the app's publishable keys: `example.com`,
    /// `example.com:8080`, `*.example.com`.
    package var allowedHosts: Set<String> = []
    /// For how long after a click on a short link its payload may be asked for.
    package var linkResolveHours = 24

    package init(
        defaultCurrency: String = "USD", allowedHosts: Set<String> = [], linkResolveHours: Int = 24
    ) {
        self.defaultCurrency = defaultCurrency
        self.allowedHosts = allowedHosts
        self.linkResolveHours = linkResolveHours
    }
}

/// Every route that takes events in, one file a format.
package struct CaptureRoutes: Sendable {
    /// Settings by organisation and app.
    package typealias Settings = @Sendable (_ org: String, _ app: String) -> AppCaptureSettings

    private let desk: CaptureDesk
    private let links: LinkParts?

    package init(
        access: Access, capture: EventCapture, limits: EventLimits, rates: CaptureRates,
        settings: @escaping Settings, registry: MetricRegistry, clock: any WallClock, logger: Logger,
        bulk: BulkWrites = BulkWrites(), links: LinkParts? = nil
    ) {
        self.links = links
        desk = CaptureDesk(
            access: access, capture: capture, limits: limits, rates: rates, settings: settings, clock: clock,
            bulk: bulk, unrecordedClicks: registry.counter(.clicksUnrecorded), logger: logger)
    }

    /// The short way of lines to `POST /v1/events`, for the same log.
    func lane(edge: EdgeMiddleware, budget: BodyBudget, registry: MetricRegistry) -> CaptureLane {
        CaptureLane(
            desk: desk, edge: edge, budget: budget, dates: HTTPDates(),
            requests: registry.counter(.eventsDirectRequests))
    }

    package func register(in book: RouteBook) {
        NativeRoutes(desk: desk).register(in: book)
        InstallRoutes(desk: desk).register(in: book)
        SegmentRoutes(desk: desk).register(in: book)
        PostHogRoutes(desk: desk).register(in: book)
        MeasurementRoutes(desk: desk).register(in: book)
        PixelRoutes(desk: desk).register(in: book)
        ClickRoutes(desk: desk).register(in: book)
        guard let links else { return }
        LinkRoutes(desk: desk, links: links).register(in: book)
        LinkVisits(desk: desk, links: links).register(in: book)
    }
}
