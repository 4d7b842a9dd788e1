"""Public sets of radiographs that anyone may download and share: what they are, where they come from, and where their images lie.

``docs/open-data.md`` has the traps of each, ``config/data/NAME.yaml`` reads it, and ``open_data`` fetches it. Layouts, sizes and
addresses are those that others report of their downloads. They are untried here, where no network was at hand.
Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CC_BY = "CC BY 4.0"
# Both publishers list the files of a record as JSON, with their sizes, addresses and checksums.
MENDELEY = "https://data.mendeley.com/public-api/datasets/{}/files?folder_id=root&version={}"
FIGSHARE = "https://api.figshare.com/v2/articles/{}/files?page_size=100"


@dataclass(frozen=True)
class PublicSet:
    """A public set. It is called ``dataset`` in configurations.

    ``images`` counts its images by official split (None: no split) as config/data/NAME.yaml reads them, and ``download`` says how
    large the files are. ``listing`` is the address of the JSON list with the ``files`` that are needed; without one, the files must be
    clicked (``by_hand``). The root of the dataset is the folder that matches the glob pattern ``inside`` below the place where the files
    are unpacked, or this place. If ``lists_images``, its table names images without their place, and a table with their paths is made.
    """

    title: str
    dataset: str
    images: Mapping[str | None, int]
    download: str
    licence: str
    page: str
    citation: str
    inside: str = ""
    listing: str = ""
    files: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()
    lists_images: bool = False


PUBLIC_SETS = {
    "kermany": PublicSet(
        "chests of children, with pneumonia (Kermany)",
        "child-chest",
        {None: 4_273},
        "1.2 GB",
        CC_BY,
        "https://data.mendeley.com/datasets/rscbjbr9sj/2",
        "Kermany, Zhang, Goldbaum: Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for Classification, "
        "Mendeley Data, V2, 2018, doi:10.17632/rscbjbr9sj.2",
        inside="**/chest_xray",
        listing=MENDELEY.format("rscbjbr9sj", 2),
        files=("ChestXRay2017.zip",),
    ),
    "knee-oai": PublicSet(
        "knees of the Osteoarthritis Initiative (Chen)",
        "knee",
        {"train": 5_778, "validation": 826, "test": 1_656},
        "several GB",
        CC_BY,
        "https://data.mendeley.com/datasets/56rmx5bjcr/1",
        "Chen: Knee Osteoarthritis Severity Grading Dataset, Mendeley Data, V1, 2018, doi:10.17632/56rmx5bjcr.1",
        inside="**/ClsKLData/kneeKL224",
        listing=MENDELEY.format("56rmx5bjcr", 1),
        files=("KneeXrayData.zip",),
    ),
    "fracatlas": PublicSet(
        "hands, legs, hips and shoulders, with fractures (FracAtlas)",
        "limbs",
        {None: 4_083},
        "0.34 GB",
        CC_BY,
        "https://figshare.com/articles/dataset/The_dataset/22363012",
        "Abedeen et al.: FracAtlas: A Dataset for Fracture Classification, Localization and Segmentation of Musculoskeletal "
        "Radiographs, Scientific Data 10, 2023, doi:10.1038/s41597-023-02432-4",
        inside="**/FracAtlas",
        listing=FIGSHARE.format(22363012),
        files=("FracAtlas.zip",),
    ),
    "grazpedwri-dx": PublicSet(
        "wrists of children after an injury (GRAZPEDWRI-DX)",
        "wrist",
        {None: 20_327},
        "16.2 GB",
        CC_BY,
        "https://figshare.com/articles/dataset/GRAZPEDWRI-DX/14825193",
        "Nagy et al.: A pediatric wrist trauma X-ray dataset (GRAZPEDWRI-DX) for machine learning, Scientific Data 9, 2022, "
        "doi:10.1038/s41597-022-01328-z",
        listing=FIGSHARE.format(14825193),
        files=("dataset.csv", *(f"images_part{part}.zip" for part in range(1, 5))),
        lists_images=True,
    ),
    "nih-chestxray14": PublicSet(
        "chests (NIH ChestX-ray14)",
        "chest",
        {"train": 86_524, "test": 25_596},
        "45 GB",
        "free to use and share, with attribution to the NIH Clinical Center",
        "https://nihcc.app.box.com/v/ChestXray-NIHCC",
        "Wang et al.: ChestX-ray8, CVPR 2017",
        by_hand=(
            "open the page, and download Data_Entry_2017_v2020.csv, train_val_list.txt, test_list.txt and the twelve archives of the "
            "folder images into {home}",
            "unpack each archive into a folder of its own, because all contain one called images: "
            "cd {home} && for i in $(seq -w 1 12); do mkdir -p images_0$i && tar -xzf images_*$i.tar.gz -C images_0$i; done",
        ),
    ),
}
