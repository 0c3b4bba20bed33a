/// The Aurum under test, as seen over the network.
package struct ValidationTarget: Sendable {
    /// `http://host:port`.
    package var url: String
    /// Makes the keys that the checks use.
    package var adminToken: String
    /// Prometheus text of the server; nil leaves out its CPU and memory.
    package var metricsURL: String?
    /// Its process on this machine, when known.
    package var pid: Int32?

    package init(url: String, adminToken: String, metricsURL: String? = nil, pid: Int32? = nil) {
        self.url = url
        self.adminToken = adminToken
        self.metricsURL = metricsURL
        self.pid = pid
    }
}
