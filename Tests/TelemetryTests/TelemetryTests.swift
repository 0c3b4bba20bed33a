import AurumCore
import Foundation
import Logging
import Telemetry
import TestSupport
import Testing

struct MetricTests {
    private let requests = MetricDefinition("aurum_test_total", .counter, labels: ["route"], "Requests.")

    @Test func `the text form is what Prometheus reads`() {
        let registry = MetricRegistry()
        registry.counter(requests, "/a\"b").increment(by: 3)
        registry.gauge(MetricDefinition("aurum_test_ratio", .gauge, "A ratio.")).set(0.25)
        let histogram = registry.histogram(MetricDefinition("aurum_test_seconds", .histogram, "A time."))
        histogram.observe(0.09)
        histogram.observe(20)
        let text = registry.prometheusText()
        #expect(text.contains("# TYPE aurum_test_total counter\naurum_test_total{route=\"/a\\\"b\"} 3\n"))
        #expect(text.contains("aurum_test_ratio 0.25\n"))
        #expect(text.contains("aurum_test_seconds_bucket{le=\"0.085\"} 0\n"))
        #expect(text.contains("aurum_test_seconds_bucket{le=\"0.1\"} 1\n"))
        #expect(text.contains("aurum_test_seconds_bucket{le=\"+Inf\"} 2\naurum_test_seconds_sum 20.09\n"))
    }

    @Test func `ten thousand label values leave two thousand series and an overflow`() {
        let registry = MetricRegistry()
        for index in 0..<10_000 { registry.counter(requests, "r\(index)").increment() }
        let lines = registry.prometheusText().split(separator: "\n").filter { $0.hasPrefix("aurum_test_total{") }
        #expect(lines.count == MetricRegistry.seriesMax + 1)
        #expect(lines.contains("aurum_test_total{route=\"overflow\"} 8000"))
    }

    @Test func `counting from many tasks loses nothing`() async {
        let registry = MetricRegistry()
        let counter = registry.counter(requests, "x")
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 { group.addTask { for _ in 0..<10_000 { counter.increment() } } }
        }
        #expect(counter.value == 80_000)
    }
}

struct RedactionTests {
    @Test(arguments: [
        ("mail jane@example.com now", "mail j***@e***.com now"), ("call +19175550143", "call ***43"),
        ("call 917-555-0143.", "call ***3."),
        ("key sk_abcdefgh_0123456789012345678901234567890123456789012", "key sk_<secret>"),
        ("turn took 12 ms at 127.0.0.1:8080", "turn took 12 ms at 127.0.0.1:8080"), ("id 42", "id 42"),
    ])
    func `personal data and secrets are masked and plain words stay`(text: String, expected: String) {
        #expect(Redaction.masked(text) == expected)
    }
}

struct HealthTests {
    @Test func `a required component that is down makes the process unready until it is back`() {
        let clock = ManualWallClock()
        let health = HealthRegistry(clock: clock)
        health.report("database", .ok)
        health.report("crm", .unconfigured, required: false)
        #expect(health.isReady)
        health.report("database", .down, reason: "disk_full")
        #expect(!health.isReady)
        let since = health.snapshot["database"]?.since
        clock.advance(by: .seconds(5))
        health.report("database", .down, reason: "disk_full")
        #expect(health.snapshot["database"]?.since == since)
        health.report("database", .ok)
        #expect(health.isReady && health.snapshot["database"]?.since == clock.now)
    }
}
