internal import AurumCore

extension EventCondition {
    /// Fields whose values the log may keep hashed.
    private static let hashed: [String: PersonIdentifier.Namespace] = [
        "user_id": .user, "anonymous_id": .anonymous, "device_id": .device, "previous_id": .user, "group_id": .group,
        "session_id": .device, "lead_id": .device, "id": .event, "click_id": .click, "order_id": .event,
    ]

    /// The condition as the log can answer it: an e-mail address or a telephone number that is looked for among
    /// identifiers becomes its keyed hash.
    package func inStoredForm(_ policies: EventPolicies, org: String) -> EventCondition {
        func stored(_ column: ColumnName, _ literal: QueryLiteral) -> QueryLiteral {
            guard let namespace = Self.hashed[column.path], case .text(let text) = literal else { return literal }
            return .text(policies.storedForm(PersonIdentifier(namespace, text), org: org).value)
        }
        switch self {
        case .and(let parts): return .and(parts.map { $0.inStoredForm(policies, org: org) })
        case .or(let parts): return .or(parts.map { $0.inStoredForm(policies, org: org) })
        case .not(let part): return .not(part.inStoredForm(policies, org: org))
        case .compare(let column, let comparison, let literal):
            return .compare(column, comparison, stored(column, literal))
        case .isIn(let column, let literals): return .isIn(column, literals.map { stored(column, $0) })
        case .contains, .startsWith, .exists: return self
        }
    }
}
