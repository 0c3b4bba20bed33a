// swift-tools-version: 6.2
import PackageDescription

/// One list of settings for every Swift target: Swift 6 mode, strict about existentials, imports and warnings.
let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .treatAllWarnings(as: .error),
]

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let asyncHTTPClient: Target.Dependency = .product(name: "AsyncHTTPClient", package: "async-http-client")
let configuration: Target.Dependency = .product(name: "Configuration", package: "swift-configuration")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let grdb: Target.Dependency = .product(name: "GRDB", package: "GRDB.swift")
let histogram: Target.Dependency = .product(name: "Histogram", package: "hdrhistogram-swift")
let hummingbird: Target.Dependency = .product(name: "Hummingbird", package: "hummingbird")
let hummingbirdTesting: Target.Dependency = .product(name: "HummingbirdTesting", package: "hummingbird")
let hummingbirdCore: Target.Dependency = .product(name: "HummingbirdCore", package: "hummingbird")
let httpTypes: Target.Dependency = .product(name: "HTTPTypes", package: "swift-http-types")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let lifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let mustache: Target.Dependency = .product(name: "Mustache", package: "swift-mustache")
let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioEmbedded: Target.Dependency = .product(name: "NIOEmbedded", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioWebSocket: Target.Dependency = .product(name: "NIOWebSocket", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let nioHTTPTypes: Target.Dependency = .product(name: "NIOHTTPTypes", package: "swift-nio-extras")
let nioHTTPTypesHTTP1: Target.Dependency = .product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras")
let nioCompression: Target.Dependency = .product(name: "NIOHTTPCompression", package: "swift-nio-extras")
let systemPackage: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let unixSignals: Target.Dependency = .product(name: "UnixSignals", package: "swift-service-lifecycle")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")

var targets: [Target] = [
    // System libraries and embedded files (C only).
    .target(name: "CAssets", exclude: ["files"]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CPostgres", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    .systemLibrary(name: "CProcessor"),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),

    // Floor 0: identifiers, money, clock, personal-data types, limits, embedded files.
    .target(name: "AurumCore", dependencies: ["CAssets"]),
    // Floor 1: metrics and Prometheus text, structured logs with masking, health.
    .target(name: "Telemetry", dependencies: ["AurumCore", logging]),
    // Floor 2: SQL behind one small interface, migrations, outbox.
    .target(name: "Database", dependencies: ["AurumCore", "Telemetry", "CPostgres", crypto, grdb, logging, lifecycle]),
    // Floor 3: event contract, capture, durable log, receipts, views.
    .target(
        name: "Events",
        dependencies: [
            "AurumCore", "Telemetry", "Database", "CProcessor", "CZlib", "CZstd", crypto, logging, lifecycle,
        ]),
    // Floor 3: limits, and what else every service needs while it runs.
    .target(
        name: "Runtime",
        dependencies: [
            "AurumCore", "Telemetry", "Database", "CZstd", crypto, logging, lifecycle, nioCore, nioPosix, nioSSL,
        ]),
    // Floor 4: keys and who may do what.
    .target(name: "Accounts", dependencies: ["AurumCore", "Telemetry", "Database", crypto]),
    // Floor 4: touchpoints, journeys, credit, conversions for networks.
    .target(
        name: "Attribution",
        dependencies: ["AurumCore", "Telemetry", "Database", "Events", "Runtime", "CProcessor", crypto, logging]),
    // Floor 4: the dialogue engine.
    .target(
        name: "Conversation", dependencies: ["AurumCore", "Telemetry", "Database", "Runtime", yams, logging, crypto]),
    // Floor 4: lead, score, consent, ping tree, delivery, ledger.
    .target(
        name: "Leads", dependencies: ["AurumCore", "Telemetry", "Database", "Runtime", crypto, logging]),
    // Floor 5: the New York City solar vertical.
    .target(name: "Solar", dependencies: ["AurumCore", "Telemetry", "Database", "Conversation", "Leads"]),
    // Floor 6: outside systems behind the roles of lower floors.
    .target(
        name: "Connectors",
        dependencies: [
            "AurumCore", "Telemetry", "Runtime", "Events", "Attribution", "Leads", asyncHTTPClient, crypto, nioCore,
            nioHTTP1,
        ]),
    // Floor 6: HTTP, WebSocket and pages; translation only.
    .target(
        name: "Gateway",
        dependencies: [
            "AurumCore", "Telemetry", "Database", "Events", "Runtime", "Accounts", "Attribution", "Conversation",
            "Leads",
            "Solar", crypto, hummingbird, hummingbirdCore, httpTypes, logging, lifecycle, mustache, nioCore, nioPosix,
            nioHTTP1,
            nioWebSocket, nioHTTPTypes, nioHTTPTypesHTTP1, nioCompression,
        ]),
    // Floor 6: load generator, checks, reports and fakes; sees Aurum only over the network.
    .target(
        name: "Validation",
        dependencies: [
            "AurumCore", asyncHTTPClient, crypto, histogram, hummingbird, httpTypes, logging, lifecycle, nioCore,
            nioPosix, nioHTTP1, nioWebSocket,
        ]),
    // Floor 6: the bodies behind `aurum bench`.
    .target(
        name: "Benchmarks",
        dependencies: [
            "AurumCore", "Telemetry", "Database", "Events", "Runtime", "Attribution", "Conversation", "Leads", "Solar",
            logging,
        ]),
    // Floor 7: subcommands and wiring.
    .executableTarget(
        name: "aurum",
        dependencies: [
            "AurumCore", "Telemetry", "Database", "Events", "Runtime", "Accounts", "Attribution", "Conversation",
            "Leads", "Solar", "Connectors", "Gateway", "Validation", "Benchmarks", "CProcessor", argumentParser,
            asyncHTTPClient, configuration, logging, lifecycle, nioCore, nioHTTP1, nioPosix, systemPackage, unixSignals,
        ]),

    // Tests mirror the sources.
    .target(
        name: "TestSupport",
        dependencies: [
            "AurumCore", "Telemetry", "Database", "CZlib", "CZstd", asyncHTTPClient, nioCore, nioHTTP1, nioPosix,
        ],
        path: "Tests/TestSupport"),
    .testTarget(name: "AurumCoreTests", dependencies: ["AurumCore", "TestSupport"]),
    .testTarget(name: "TelemetryTests", dependencies: ["AurumCore", "Telemetry", "TestSupport", logging]),
    .testTarget(
        name: "DatabaseTests", dependencies: ["AurumCore", "Telemetry", "Database", "TestSupport", grdb, logging]),
    .testTarget(
        name: "RuntimeTests",
        dependencies: [
            "AurumCore", "Telemetry", "Database", "Runtime", "TestSupport", logging, lifecycle, nioCore, nioPosix,
        ]),
    .testTarget(name: "EventsTests", dependencies: ["AurumCore", "Telemetry", "Database", "Events", "TestSupport"]),
    .testTarget(
        name: "AccountsTests", dependencies: ["AurumCore", "Telemetry", "Database", "Accounts", "TestSupport"]),
    .testTarget(
        name: "AttributionTests",
        dependencies: [
            "AurumCore", "Telemetry", "Attribution", "Connectors", "Database", "Events", "Runtime", "TestSupport",
            "Validation", asyncHTTPClient, crypto, logging,
        ]),
    .testTarget(
        name: "ConversationTests",
        dependencies: ["AurumCore", "Telemetry", "Database", "Conversation", "TestSupport"]),
    .testTarget(
        name: "LeadsTests",
        dependencies: [
            "AurumCore", "Telemetry", "Database", "Runtime", "Leads", "Connectors", "Validation", "TestSupport", crypto,
            lifecycle, logging,
        ]),
    .testTarget(
        name: "SolarTests",
        dependencies: [
            "AurumCore", "Telemetry", "Database", "Runtime", "Conversation", "Leads", "Solar", "TestSupport",
        ]),
    .testTarget(
        name: "GatewayTests",
        dependencies: [
            "AurumCore", "Telemetry", "Database", "Events", "Runtime", "Accounts", "Attribution", "Gateway",
            "TestSupport",
            hummingbird,
            hummingbirdTesting, httpTypes, logging, nioCore, nioEmbedded,
        ]),
    .testTarget(name: "ValidationTests", dependencies: ["AurumCore", "Validation", "TestSupport", histogram]),
    .testTarget(name: "TidyTests", dependencies: []),
    // Black-box tests of the built binary: restart, SIGKILL, Segment's client, browser.
    .testTarget(
        name: "SystemTests",
        dependencies: [
            "AurumCore", "Benchmarks", "Database", "Events", "Telemetry", "TestSupport", "Validation", asyncHTTPClient,
            crypto, nioCore, nioHTTP1,
            "aurum",
        ]),
]

#if arch(x86_64)
    /// The event engine is built for AVX2 and BMI2, which processors have had since 2013; `aurum` refuses others.
    let engineSettings: [SwiftSetting] = [.unsafeFlags(["-Xcc", "-march=x86-64-v3"])]
#else
    let engineSettings: [SwiftSetting] = []
#endif

for target in targets where target.type != .system && target.name != "CAssets" {
    target.swiftSettings = target.name == "Events" ? settings + engineSettings : settings
}

let package = Package(
    name: "aurum",
    platforms: [.macOS(.v15)],
    products: [.executable(name: "aurum", targets: ["aurum"])],
    dependencies: [
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/hummingbird-project/swift-mustache", from: "2.1.1"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: targets,
    cLanguageStandard: .gnu2x
)
