"""Writes pysam_cases.json, what NREL's PySAM gives for seeded random fixed arrays, and pysam_hours.json, the watts of
each hour of one array (7 kW, 20 degrees south, Central Park).

Usage: pip install nrel-pysam==7.1.1.post1; python3 make_pysam_cases.py SOLAR_FOLDER
SOLAR_FOLDER holds stations.json and the three weather files (Sources/CAssets/files/solar).
"""

import json
import os
import random
import sys
import tempfile

import PySAM.Pvwattsv8 as pvwatts

SEED = 20261121
CASES = 48


def weather_file(folder, station, scratch):
    """The station's year as a CSV that SSC reads: no minute column, so hours are means around their middle."""
    path = os.path.join(scratch, station["id"] + ".csv")
    with open(os.path.join(folder, station["id"] + ".csv")) as source, open(path, "w") as out:
        out.write("Source,Location ID,City,State,Country,Latitude,Longitude,Time Zone,Elevation\n")
        out.write("TMY3,{id},-,NY,US,{latitude},{longitude},{utcOffsetHours},{elevationMetres}\n".format(**station))
        out.write("Year,Month,Day,Hour,GHI,DNI,DHI,Tdry,Wspd,Albedo\n")
        for line in source:
            if line[0] in "#y":
                continue
            month = int(line.split(",")[1])
            out.write(line.strip() + "," + station["albedoByMonth"][month - 1] + "\n")
    return path


def draw(rng, stations, number):
    """One array: every third case is an open rack, every fourth a premium module."""
    return {
        "station": rng.choice(stations),
        "tilt": round(rng.choice([0, 90, rng.uniform(0, 90), rng.uniform(0, 45)]), 2),
        "azimuth": round(rng.uniform(0, 360), 2),
        "kilowatts": round(10 ** rng.uniform(-0.52, 3), 3),
        "dc-ac": round(rng.uniform(1, 1.6), 3),
        "losses": round(rng.uniform(0, 40), 2),
        "inverter-efficiency": round(rng.uniform(90, 99.5), 2),
        "mount": "rack" if number % 3 == 0 else "roof",
        "module": "premium" if number % 4 == 0 else "standard",
        "gcr": round(rng.uniform(0.1, 0.9), 2),
    }


def run(case, files):
    model = pvwatts.new()
    model.SolarResource.solar_resource_file = files[case["station"]]
    model.SolarResource.use_wf_albedo = 1
    design = model.SystemDesign
    design.system_capacity = case["kilowatts"]
    design.dc_ac_ratio = case["dc-ac"]
    design.losses = case["losses"]
    design.inv_eff = case["inverter-efficiency"]
    design.array_type = 0 if case["mount"] == "rack" else 1
    design.module_type = 1 if case["module"] == "premium" else 0
    design.tilt = case["tilt"]
    design.azimuth = case["azimuth"]
    design.gcr = case["gcr"]
    design.bifaciality = 0
    model.AdjustmentFactors.adjust_constant = 0
    model.execute(0)
    return model


def main():
    folder = sys.argv[1]
    with open(os.path.join(folder, "stations.json")) as handle:
        stations = json.load(handle)["stations"]
    rng = random.Random(SEED)
    cases = []
    with tempfile.TemporaryDirectory() as scratch:
        files = {station["id"]: weather_file(folder, station, scratch) for station in stations}
        for number in range(CASES):
            case = draw(rng, [station["id"] for station in stations], number)
            model = run(case, files)
            annual, monthly = model.Outputs.ac_annual, list(model.Outputs.ac_monthly)
            options = {key: str(value) for key, value in case.items()}
            cases.append({"options": options, "annual": round(annual, 4), "monthly": [round(m, 4) for m in monthly]})
        plain = {"station": "725033", "tilt": 20, "azimuth": 180, "kilowatts": 7, "dc-ac": 1.2, "losses": 14.08}
        plain |= {"inverter-efficiency": 96, "mount": "roof", "module": "standard", "gcr": 0.3}
        model = run(plain, files)
        hours = [round(watts, 1) for watts in model.Outputs.ac]
        rising = [hour for hour in range(1, 8759) if model.Outputs.sunup[hour] in (2, 3)]
    tool = "NREL-PySAM 7.1.1.post1 Pvwattsv8"
    with open("pysam_cases.json", "w") as out:
        json.dump({"tool": tool, "seed": SEED, "cases": cases}, out, indent=1)
    with open("pysam_hours.json", "w") as out:
        json.dump({"tool": tool, "risingOrSettingHours": rising, "watts": hours}, out)


main()
