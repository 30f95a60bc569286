"""Task 4: how many parameters maps of each shape have, by the closed form, and what they recover of matrices."""

from pathlib import Path

import numpy as np
import pandas as pd

from btrnn.complexity import bt_parameters, dense_parameters, factorize
from btrnn.figures.file import RANK_APPEARANCES, Appearance, FigureFile
from btrnn.figures.pictures import Tile, draw_tiles
from btrnn.figures.series import COLUMNS, draw_series
from btrnn.recovery import records
from btrnn.recovery.records import EQUAL, EQUAL_MAPS, PANELS, RECOVERED, SAME_SHAPE, SIZE, TRUTHS, Recovery, shape_name
from btrnn.reports.render import Report, paper_values, render, span, text_table
from btrnn.results.schema import BLUE, BT_LSTM, GREEN, GREY, LSTM, ORANGE
from btrnn.results.statistics import mean_interval
from btrnn.results.summary import Row, read_paper

INPUT_SIZE, OUTPUT_SIZE, NUM_BLOCKS = 4096, 256, 1  # the paper's
ORDERS, RANKS = range(1, 9), range(1, 5)
DENSE = dense_parameters([INPUT_SIZE], [OUTPUT_SIZE])
_TITLE = f"I = {INPUT_SIZE:,}, J = {OUTPUT_SIZE:,}, N = {NUM_BLOCKS}"

_FORMS = {"bt_n1": ("BT, N = 1", GREEN, "o"), "bt_n2": ("BT, N = 2", BLUE, "s"), "tt": ("TT", ORANGE, "^")}
_APPEARANCES = {name: Appearance(color, marker, "") for name, color, marker in _FORMS.values()}
_APPEARANCES |= {f"{name}, from_dense": appearance._replace(hollow=True) for name, appearance in _APPEARANCES.items()}
_APPEARANCES |= {"best rank (SVD)": Appearance(GREY, "_", "")}
_ENDS = ["mean", "low", "high"]
_PANELS_TITLE = "64 x 64 matrices and what is recovered of them from y = W x; P parameters, relative error"
_DARKEST = 2.5 / 64  # grey levels reach to 2.5 root mean squares of a truth, which all have norm 1


def grid() -> pd.DataFrame:
    """Count the parameters of every order and rank: order, rank, in_modes, out_modes, parameters, paper_id.

    Modes are balanced, and paired so that the fewest parameters result.
    """
    rows = []
    for order in ORDERS:
        inputs, outputs = factorize(INPUT_SIZE, order), factorize(OUTPUT_SIZE, order)[::-1]
        texts = {"in_modes": "x".join(map(str, inputs)), "out_modes": "x".join(map(str, outputs))}
        for rank in RANKS:
            row = {"order": order, "rank": rank, "parameters": bt_parameters(inputs, outputs, rank, NUM_BLOCKS)}
            rows.append(row | texts | {"paper_id": f"sensitivity.parameters.r{rank}_d{order}"})
    return pd.DataFrame(rows)


def fewest() -> pd.DataFrame:
    """Return the rows of `grid` with the fewest parameters for each rank, by rank: several where orders tie."""
    table = grid()
    lowest = table["parameters"] == table.groupby("rank")["parameters"].transform("min")
    return table[lowest].sort_values(["rank", "order"])


def parameters_report(results_dir: Path) -> Report:
    """Return tables/parameters.md, each count beside the paper's, and the paper's figure: a line for each rank."""
    table = grid()
    published = read_paper(results_dir / "paper.csv")["value"].reindex(table["paper_id"])
    orders = {order: rows.to_dict("records") for order, rows in table.groupby("order")}
    equal = int((table["parameters"].astype(str).to_numpy() == published.to_numpy()).sum())
    lowest = {rank: rows.to_dict("records") for rank, rows in fewest().groupby("rank")}
    found = {"fewest": lowest, "equal": equal}
    text = render("parameters", title=_TITLE, dense=DENSE, ranks=RANKS, orders=orders, **found) + "\n"

    lines = table.sort_values("rank", kind="stable").rename(columns={"order": "x", "parameters": "mean"})
    lines = lines.assign(panel="", model=BT_LSTM.name, low=lines["mean"], high=lines["mean"])
    lines["label"] = "R = " + lines["rank"].astype(str)
    dense = {"panel": "", "label": f"dense, {DENSE:,}", "model": LSTM.name, "x": float("nan")}
    dense |= dict.fromkeys(("mean", "low", "high"), DENSE)
    data = pd.concat([lines, pd.DataFrame([dense])], ignore_index=True)[COLUMNS]
    appearances = RANK_APPEARANCES | {dense["label"]: Appearance(GREY, "", "--")}
    options: Row = {"title": f"Block-term parameters, {_TITLE}", "x_label": "core order d"}
    options |= {"y_label": "parameters of W", "log_y": True, "appearances": appearances}
    figure = FigureFile(Path("figures/parameters.png"), draw_series, data, options)
    return Report({Path("tables/parameters.md"): text}, [figure])


def recovery_report(results_dir: Path) -> Report:
    """Return tables/recovery.md, the paper's panel figure, and errors against parameters; nothing if not collected."""
    recovery = records.read(results_dir)
    if recovery.rows.empty or not recovery.matrices:
        return Report({}, [])
    of_grid = recovery.rows["form"] != EQUAL
    equal, recovery = equal_maps(recovery.rows[~of_grid]), recovery._replace(rows=recovery.rows[of_grid])
    table = records.summarise(recovery.rows)
    table["shape"], table["kind"] = table["name"].map(shape_name), table["truth"].map(TRUTHS)
    text = _text(results_dir, recovery.rows, table, equal)
    panels = {"title": _PANELS_TITLE, "inches": 1.95, "grey": (-_DARKEST, _DARKEST)}
    title = f"Recovery of 64 x 64 matrices, n = {table['n'].max()}; errors below {RECOVERED:g} drawn at {RECOVERED:g}"
    options: Row = {
        "title": title,
        "x_label": "parameters",
        "y_label": "relative error",
        "bars": True,
        "appearances": _APPEARANCES,
    }
    options |= {"log_x": True, "log_y": True, "limits": (RECOVERED / 1.3, 1.4)}
    figures = [
        FigureFile(Path("figures/recovery_panels.png"), draw_tiles, _panels(recovery), panels),
        FigureFile(Path("figures/recovery_errors.png"), draw_series, _errors(table), options),
    ]
    for noise in equal["noise"].unique().tolist():
        rows = equal[equal["noise"] == noise]
        path = Path("figures", _pairs_name(noise))
        said = "without noise" if not noise else f"with noise of {noise:g} of y"
        pairs: Row = {"title": f"Maps of about 512 numbers from few pairs {said}, n = {span(rows['n'])}"}
        pairs |= {"x_label": "pairs (x, y)", "y_label": "relative error", "log_x": True, "log_y": True}
        pairs |= {"limits": (RECOVERED / 1.3, 14.0)}
        figures.append(FigureFile(path, draw_series, _pairs_lines(rows), pairs))
    return Report({Path("tables/recovery.md"): text + "\n"}, figures)


def equal_maps(rows: pd.DataFrame) -> pd.DataFrame:
    """Average over the truths of a kind what maps of about as many numbers reach: a row for each noise, kind and map.

    Columns: noise, truth, kind (in words), map (its key in `EQUAL_MAPS`, or "dense" for least squares of W
    itself), label, parameters, num_pairs, n, mean, low, high, from_dense.
    """
    found = []
    for (name, truth), group in rows.groupby(["name", "truth"], sort=False):
        key = str(name).rsplit("_p", 1)[0]
        common = {"truth": truth, "kind": TRUTHS[str(truth)], "n": len(group)}
        common |= {column: group[column].iloc[0] for column in ("noise", "num_pairs")}
        known = {key: (EQUAL_MAPS[key], group["parameters"].iloc[0], "error_best")}
        if key == "bt" and truth != SAME_SHAPE:  # the same for all maps, but for truths of their own
            known["dense"] = ("dense, least squares", SIZE**2, "error_least_squares")
        for one, (label, parameters, column) in known.items():
            interval = mean_interval(group[column].to_numpy(), bounds=(0.0, float("inf")))
            row = {"map": one, "label": label, "parameters": parameters, "mean": interval.mean}
            row |= {"from_dense": group["error_from_dense"].mean() if one == key else float("nan")}
            found.append(common | row | {"low": interval.low, "high": interval.high})
    columns = ["noise", "truth", "kind", "map", "label", "parameters", "num_pairs", "n", *_ENDS, "from_dense"]
    table, order = pd.DataFrame(found, columns=columns), [*EQUAL_MAPS, "dense"]
    places = {"truth": [*TRUTHS].index, "map": order.index}
    return table.sort_values(
        ["noise", "truth", "map", "num_pairs"],
        key=lambda values: values.map(places[values.name]) if values.name in places else values,
        ignore_index=True,
    )


def _pairs_name(noise: float) -> str:
    return f"recovery_pairs{f'_noise_{noise:g}' if noise else ''}.png"


def _pairs_lines(rows: pd.DataFrame) -> pd.DataFrame:
    """Return relative error against the number of pairs, a panel for each kind of truth, as `draw_series` takes it."""
    names = rows["map"].map(lambda one: LSTM.name if one == "dense" else f"{one}_lstm")
    lines = rows.assign(panel=rows["kind"], model=names, x=rows["num_pairs"].astype(float))[COLUMNS]
    lines[_ENDS] = lines[_ENDS].clip(lower=RECOVERED)
    return lines


def _text(results_dir: Path, rows: pd.DataFrame, table: pd.DataFrame, equal: pd.DataFrame) -> str:
    own = table[(table["truth"] == SAME_SHAPE) & table["name"].isin(PANELS)]
    dirty = rows["git_dirty"].map({True: " (uncommitted changes)", False: ""})
    return render(
        "recovery",
        panels=own.sort_values("name", key=lambda names: names.map(PANELS.index)).to_dict("records"),
        kinds=records.compare_with_rank(table).to_dict("records"),
        shapes={kind: group.to_dict("records") for kind, group in table.groupby("kind", sort=False)},
        equal={kind: _pairs_cells(group) for kind, group in equal.groupby("kind", sort=False)},
        rows=rows,
        pairs_figures={noise: _pairs_name(noise) for noise in equal["noise"].unique().tolist()},
        n_equal=span(equal["n"]) if len(equal) else "",
        restarts=span(rows["num_restarts"]),
        commits=sorted(set(rows["git_commit"].astype(str).str[:10] + dirty)),
        error=_error,
        records=records,
        **paper_values(results_dir),
    )


def _pairs_cells(rows: pd.DataFrame) -> str:
    """Write what maps reach of one kind of truth as a Markdown table: a row a map, a column a noise and number."""
    cells = []
    for (label, parameters), group in rows.groupby(["label", "parameters"], sort=False):
        row = {"map": str(label), "P": f"{parameters:,.0f}"}
        for one in group.sort_values(["noise", "num_pairs"]).to_dict("records"):
            row[f"{one['num_pairs']:,.0f} pairs" + (f", noise {one['noise']:g}" if one["noise"] else "")] = _error(
                one["mean"]
            )
        known = group["from_dense"].iloc[0]
        cells.append(row | {"from_dense": "-" if np.isnan(known) else _error(known)})
    return text_table(cells)


def _error(value: float) -> str:
    return f"{value:.3f}" if value >= RECOVERED else f"{value:.0e}"


def _panels(recovery: Recovery) -> list[tuple[str, list[Tile | None]]]:
    """Lay out the truths of seed 0 and what the paper's shapes learnt of them; the last two rows: their own truths."""
    first = recovery.rows[recovery.rows["seed"] == 0].set_index(["name", "truth"])[["parameters", "error_best"]]
    names = [name for name in PANELS if name in set(recovery.rows["name"])]

    def tile(name: str, kind: str, what: str, above: str = "") -> Tile:
        row = first.loc[[(name, kind)]].iloc[0]
        said = above or f"P = {row['parameters']:.0f}: {_error(row['error_best'])}"
        return Tile(recovery.matrices[f"{name}/{kind}/{what}"].astype(np.float64), said)

    rows: list[tuple[str, list[Tile | None]]] = []
    for kind in [kind for kind in TRUTHS if kind in set(recovery.rows["truth"])]:
        found = [tile(name, kind, "learnt") for name in names]
        if kind == SAME_SHAPE:
            truths = [tile(name, kind, "truth", shape_name(name)) for name in names]
            rows += [("truths of the\nsame shape", [None, *truths]), ("recovered", [None, *found])]
        else:
            rows.append((TRUTHS[kind], [tile(names[0], kind, "truth", "truth, P = 4096"), *found]))
    return rows


def _errors(table: pd.DataFrame) -> pd.DataFrame:
    """Return relative error against parameters, a panel for each kind of truth, as `draw_series` takes it.

    Filled: trained, the best restart, mean and 95 % interval over the truths. Hollow: made from the truth itself. Dash:
    the best product of two thin matrices of as many numbers. Errors below `RECOVERED` are drawn there.
    """
    place = table.assign(panel=table["kind"], x=table["parameters"].astype(float), model=table["form"])
    form = table["form"].map({key: name for key, (name, _, _) in _FORMS.items()})
    ends = {"error_best": "mean", "error_best_low": "low", "error_best_high": "high"}
    best = place.assign(label=form).rename(columns=ends)
    others = [
        place.assign(label=label, **dict.fromkeys(_ENDS, table[column]))
        for column, label in (("error_from_dense", form + ", from_dense"), ("error_best_rank", "best rank (SVD)"))
    ]
    lines = pd.concat([best, *others], ignore_index=True)[COLUMNS]
    lines[_ENDS] = lines[_ENDS].clip(lower=RECOVERED)
    return lines
