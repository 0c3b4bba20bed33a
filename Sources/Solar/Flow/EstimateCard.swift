internal import AurumCore
internal import Conversation

/// An estimate as the visitor sees it: ranges with reasons and sources, never a bare number.
struct EstimateCard {
    let estimate: SolarEstimate
    let language: Language

    var card: ResultCard {
        ResultCard(
            kind: "solar.estimate", title: say("Your roof, estimated", "Su techo, calculado"),
            figures: Self.shown.compactMap(figure), notes: notes)
    }

    /// Order of the card.
    private static let shown: [Figure.Name] = [
        .systemWatts, .annualKilowattHours, .shareOfUsage, .grossCost, .netCost, .savingsYear1, .paybackYears,
    ]

    private func say(_ english: String, _ spanish: String) -> String { language == .english ? english : spanish }

    private var notes: [String] {
        let validity = say(
            "Rules as of \(estimate.date); valid until \(estimate.validUntil).",
            "Reglas al \(estimate.date); válido hasta \(estimate.validUntil).")
        return [validity] + estimate.assumptions + estimate.notes
    }

    private func figure(_ name: Figure.Name) -> ResultCard.Figure? {
        guard let figure = estimate.figure(name), let (label, why) = words(name) else { return nil }
        return ResultCard.Figure(
            name: name.rawValue, label: label, display: display(figure), low: rounded(figure.low),
            likely: rounded(figure.value), high: rounded(figure.high), unit: figure.unit, why: why,
            source: figure.sources.joined(separator: ", "))
    }

    private func rounded(_ value: Double) -> Double { (value * 100).rounded() / 100 }

    private func display(_ figure: Figure) -> String {
        let (low, likely, high) = (text(figure.low, figure), text(figure.value, figure), text(figure.high, figure))
        if figure.name == .systemWatts {
            let panels = estimate.panels
            return low == high
                ? say("\(likely), \(panels) panels", "\(likely), \(panels) paneles")
                : say(
                    "\(likely), \(panels) panels (\(low) to \(high))", "\(likely), \(panels) paneles (\(low) a \(high))"
                )
        }
        if low == high { return likely }
        return say("\(low) to \(high), likely \(likely)", "\(low) a \(high), probable \(likely)")
    }

    private func text(_ value: Double, _ figure: Figure) -> String {
        switch figure.unit {
        case "W": return "\(decimal(value / 1000, digits: 1)) kW"
        case "kWh": return "\(grouped(value)) kWh"
        case "USD": return money(value)
        case "USD/year": return say("\(money(value)) a year", "\(money(value)) al año")
        case "years": return say("\(decimal(value, digits: 1)) years", "\(decimal(value, digits: 1)) años")
        case "percent": return "\(decimal(value, digits: 0)) %"
        default: return "\(grouped(value)) \(figure.unit)"
        }
    }

    private func money(_ value: Double) -> String { value < 0 ? "-$\(grouped(-value))" : "$\(grouped(value))" }

    private func decimal(_ value: Double, digits: Int) -> String {
        let scale = digits == 0 ? 1.0 : 10.0
        let tenths = Int64((value * scale).rounded())
        return digits == 0 ? String(tenths) : "\(tenths / 10).\(abs(tenths % 10))"
    }

    private func grouped(_ value: Double) -> String {
        var digits = Array(String(Int64(value.rounded())))
        var index = digits.count - 3
        while index > (value < 0 ? 1 : 0) {
            digits.insert(",", at: index)
            index -= 3
        }
        return String(digits)
    }

    private func words(_ name: Figure.Name) -> (label: String, why: String)? {
        switch name {
        case .systemWatts:
            let bound =
                switch estimate.bound {
                case .usage: say("your electricity use", "su consumo de electricidad")
                case .roof: say("the usable roof", "el techo utilizable")
                case .limit: say("the 25 kW limit of home net metering", "el límite de 25 kW para viviendas")
                }
            return (say("System size", "Tamaño del sistema"), say("Set by \(bound).", "Lo determina \(bound)."))
        case .annualKilowattHours:
            return (
                say("Electricity in year 1", "Electricidad en el año 1"),
                say(
                    "Hour by hour from measured weather of the nearest station, by the PVWatts v8 method.",
                    "Hora por hora con el clima medido de la estación más cercana, según el método PVWatts v8.")
            )
        case .shareOfUsage:
            return (
                say("Share of your use", "Parte de su consumo"),
                say(
                    "Year-1 electricity over the use your bill implies.",
                    "Electricidad del año 1 sobre el consumo según su factura.")
            )
        case .grossCost:
            return (
                say("Price before incentives", "Precio antes de incentivos"),
                say(
                    "System size times a dated price per watt.", "Tamaño del sistema por un precio por vatio con fecha."
                )
            )
        case .netCost:
            return (
                say("Cost after incentives", "Costo después de incentivos"),
                say(
                    "Only incentives that hold today for a home are counted.",
                    "Solo cuentan incentivos vigentes hoy para una vivienda.")
            )
        case .savingsYear1:
            return (
                say("Saved in year 1", "Ahorro en el año 1"),
                say(
                    "Electricity not bought, less the monthly grid charge and maintenance.",
                    "Electricidad no comprada, menos el cargo mensual de red y el mantenimiento.")
            )
        case .paybackYears:
            return (
                say("Pays for itself after", "Se paga en"),
                say(
                    "Years until savings and incentives exceed what was paid in cash.",
                    "Años hasta que ahorro e incentivos superan lo pagado al contado.")
            )
        case .panels, .usageKilowattHours, .grant, .federalCredit, .stateCredit, .abatementPerYear, .abatement,
            .valueYear1, .systemCharge, .maintenanceYear1:
            return nil
        }
    }
}
