import Attribution
import AurumCore
import Foundation

/// The examples of Apple's documentation.
enum PostbackVectors {
    private static let old: [String: JSONValue] = [
        "ad-network-id": "com.example", "campaign-id": 42, "app-id": 525_463_029,
        "transaction-id": "6aafb7a5-0170-41b5-bbe4-fe71dedf1e28", "redownload": true, "source-app-id": 1_234_567_891,
    ]

    static let all: [(name: String, body: [String: JSONValue])] = [
        (
            "2.1",
            old.merging([
                "version": "2.1",
                "attribution-signature":
                    "MEUCID6rbq3qt4GvFaAaynh5/LAcvn1d8CQTRhrZhLIxLKntAiEAo7IrvoMw6u2qDg6Tr5vIsEHXjlLkPlCOL0ojJcEh3Qw=",
            ]) { $1 }
        ),
        (
            "2.2",
            old.merging([
                "version": "2.2", "fidelity-type": 1,
                "attribution-signature":
                    "MEYCIQDTuQ1Z4Tpy9D3aEKbxLl5J5iKiTumcqZikuY/AOD2U7QIhAJAaiAv89AoquHXJffcieEQXdWHpcV8ZgbKN0EwV9/sY",
            ]) { $1 }
        ),
        (
            "3.0 win",
            old.merging([
                "version": "3.0", "ad-network-id": "example123.skadnetwork", "fidelity-type": 1, "did-win": true,
                "attribution-signature":
                    "MEYCIQD5eq3AUlamORiGovqFiHWI4RZT/PrM3VEiXUrsC+M51wIhAPMANZA9c07raZJ64gVaXhB9+9yZj/X6DcNxONdccQij",
            ]) { $1 }
        ),
        (
            "3.0 lose",
            [
                "version": "3.0", "ad-network-id": "example123.skadnetwork", "campaign-id": 42, "app-id": 525_463_029,
                "transaction-id": "f9ac267a-a889-44ce-b5f7-0166d11461f0", "redownload": true, "fidelity-type": 1,
                "did-win": false,
                "attribution-signature":
                    "MEUCIQDDetUtkyc/MiQvVJ5I6HIO1E7l598572Wljot2Onzd4wIgVJLzVcyAV+TXksGNoa0DTMXEPgNPeHCmD4fw1ABXX0g=",
            ]
        ),
        (
            "4.0 fine",
            [
                "version": "4.0", "ad-network-id": "com.example", "source-identifier": "5239", "app-id": 525_463_029,
                "transaction-id": "6aafb7a5-0170-41b5-bbe4-fe71dedf1e30", "redownload": false,
                "source-domain": "example.com", "fidelity-type": 1, "did-win": true, "postback-sequence-index": 0,
                "conversion-value": 63,
                "attribution-signature":
                    "MEUCIGRmSMrqedNu6uaHyhVcifs118R5z/AB6cvRaKrRRHWRAiEAv96ne3dKQ5kJpbsfk4eYiePmrZUU6sQmo+7zfP/1Bxo=",
            ]
        ),
        (
            "4.0 coarse",
            [
                "version": "4.0", "ad-network-id": "com.example", "source-identifier": "39", "app-id": 525_463_029,
                "transaction-id": "6aafb7a5-0170-41b5-bbe4-fe71dedf1e31", "redownload": false,
                "source-domain": "example.com", "fidelity-type": 1, "did-win": true, "postback-sequence-index": 0,
                "coarse-conversion-value": "high",
                "attribution-signature":
                    "MEUCIQD4rX6eh38qEhuUKHdap345UbmlzA7KEZ1bhWZuYM8MJwIgMnyiiZe6heabDkGwOaKBYrUXQhKtF3P/ERHqkR/XpuA=",
            ]
        ),
    ]

    /// AdAttributionKit, signed with the development key 1.
    static let jws = [
        "eyJraWQiOiJhcHBsZS1kZXZlbG9wbWVudC1pZGVudGlmaWVyXC8xIiwiYWxnIjoiRVMyNTYifQ",
        "eyJwb3N0YmFjay1pZGVudGlmaWVyIjoiODU1NDZFQjctRkQzOS00NEJDLTg5OTAtQzk4QTRBQzM2QTQ5IiwicHVibGlzaGVyLWl0ZW0taWRlb"
            + "nRpZmllciI6MCwibWFya2V0cGxhY2UtaWRlbnRpZmllciI6ImNvbS5hcHBsZS5BcHBTdG9yZSIsImltcHJlc3Npb24tdHlwZSI6ImFwcC"
            + "1pbXByZXNzaW9uIiwiYWQtbmV0d29yay1pZGVudGlmaWVyIjoiZGV2ZWxvcG1lbnQuYWRhdHRyaWJ1dGlvbmtpdCIsImRpZC13aW4iOnR"
            + "ydWUsInBvc3RiYWNrLXNlcXVlbmNlLWluZGV4IjowLCJjb252ZXJzaW9uLXR5cGUiOiJyZS1lbmdhZ2VtZW50Iiwic291cmNlLWlkZW50"
            + "aWZpZXIiOiIxMjM0IiwiYWR2ZXJ0aXNlZC1pdGVtLWlkZW50aWZpZXIiOjEwNzM4MDI3NzU2fQ",
        "bAdNwKd6OfHK9tofvjjua4X_JPcFTxXPQSspD9gZkinw97pY7R1aI-LSjl-oxZZF3_K2H5JK5TSEBee4_1U4oQ",
    ]

    static func bytes(_ body: [String: JSONValue]) -> [UInt8] { Array(JSONValue.object(body).canonical.utf8) }

    static func base64URL(_ text: String) -> String {
        Data(text.utf8).base64EncodedString().replacingOccurrences(of: "+", with: "-")
            .replacingOccurrences(of: "/", with: "_").replacingOccurrences(of: "=", with: "")
    }
}
