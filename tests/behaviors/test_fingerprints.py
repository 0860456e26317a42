"""Fingerprints of every behavior that comes with the project, as runs that exist have recorded them."""

from pathlib import Path

import pytest

from controlwindow.behaviors.loading import known_behaviors, load_behavior

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "stories_dialogue" / "behavior.toml"

#: By name: the fingerprint, then those of the splits find, select and evaluate.
RECORDED = {
    "arithmetic": (
        "df46b524b7211867bc31d772446a91eca278aeab70d426cae7358036ab0c5cbe",
        "b04fa5d7eea38e618dd8df522ba3f6fda97b479adc55b96433925c6bbdc8a483",
        "a89ffafcc9e70ba2929f48ee42fd472c8d6806a246e49afa84ac73cc8f8b3279",
        "165c269f30493e0acfd1d59f3aa45b3c529a9cf6d26e8842e1009f2ecea702b8",
    ),
    "chat_code": (
        "8559b6107d2c04c88e6d044ac30f3ac623813d783812206efa1d867c37254508",
        "fe55ffcb0ffc3fe08c86f5976cbe4df69ca897bbff50144db49c32c57d00aaf7",
        "508b6a4b867ef40ebc306485b03977d43297d2049aad3f8e7fcfa6077a11a8cc",
        "94245cca14c2ada18e8a51091c2b780cec4a7bc57e2f88308a4f33cb3ba4105b",
    ),
    "chat_language_chinese": (
        "7e68a95ff72445fabe63ac40fd3187392d0f66ba896e7ea268452970f5c86cd7",
        "69d7a04be239b601cac04de33e068e1ac3405da1a2ba305040eaf4242c901d6a",
        "004ce75c1696092f5c3ce65b04a5bd15ceac1a9d18e148d46fe5eac8c35221d9",
        "82043e15a7caa8cd74c32e018659b555d7eb043b3d0a709eec01818cde17405c",
    ),
    "chat_language_french": (
        "f05d96d3647426089f0e7f24e4c78b853778a24ffd39cfade38aa5485637ba42",
        "b0966bf2e0bdb09069ba8c12216979ee93e3ce1fca9efca38f843b9d9ad783a3",
        "9465641654234f7ef85a2c42e934d95ee91e9447c113aabd447ad2acb67a666f",
        "4548d745ccfef04dba43516659f4ccd42de110e5e54075abd21dcb1eded6291a",
    ),
    "chat_list": (
        "b805b4da10acd1aae080fd83808f8d689a3dada52d1fdce89fc57b865dfbc5cc",
        "e159afd861d3aec866b1f584e0c445ba9b0eaf8958125069a2d920a9fab90770",
        "fa8f18bcc32acc11eaf136a6eba23d5f27488fa0212b256bafdbc6c10cf4aa6c",
        "e1dea5611c559c012af88d654f106c9063839703d69cd67f6379fea00c4e0d75",
    ),
    "chat_refusal": (
        "7bd48cac2acc4837738f421d52633b4005d06383ad6af9b2e4966282a5fc7208",
        "37cb3ba86fbd994dc68b6e62e9ed8ff09aa689c87369e39ab985e4811d786d8b",
        "fdcb372788936ef897157cae1ccec6724b9cf9967e703b8e041d125b825b428c",
        "36b2c6720d9d2357a5754d160eb149ff82c1eb1f3e4de2bcccaea94a24560cf4",
    ),
    "chat_sycophancy": (
        "b9848e98ebcbb81d0600fbf3cf11386e5c45428efd142323ddf326e5bf8ae777",
        "0e501df12a71704ca89960f744f38eaeea6c8a489edce0f92549065dd787509a",
        "9ff1f19d1de28ef1e6b0c12804182b6e9528e18993e8886efa7a94736826d9a2",
        "12780feecb169e9e83e7b2d2771fc225ae164d45b86e92f98b760700d7f0fb89",
    ),
    "correction": (
        "86e971771e470dfb2137cd22d84d45980cab041fa8a06467d1d727b47aab2a89",
        "9329ab7fea393138d59e3957da6acbeab6452d0a7c07af50edeef103f1d2086f",
        "f649fac041d7628e6c31f283e51a0380ce890dc75646249705dd3cc04704b4f6",
        "1842831c31ecd041779e46c7f9f2378521302527b51c55177f401d496d86114a",
    ),
    "format": (
        "943c634c73e0e581d865f2177dccb2e937049a6225596b7540b288a7ce287af8",
        "4d24b8b49947db5873e6522191ea458fea85b5db008eb42262a167c0e47b7449",
        "67a256d158ed223d4e92f5b4bfe05d64b6adf52f38f254f4675a8a447aa46e41",
        "ad0c22491c0589e651601f91e2b18869abe6c84ceec47b7cdb7148dfdc5f7411",
    ),
    "framing": (
        "8d70f0804f2d37ec53d41fc1f2d28bd805e3fdb51367662d8a2a081a770631c7",
        "84f03b5e5e2149b3cd86f2b1f6d0447889010b49eb3d9f8c640e27a3d2896506",
        "80cc8baafe0157eef1ca5ffe030cb78b0830e0bb8cb1e0df93f2185b13815a5c",
        "6caa897d65cb3f36ba5a3ef9d83f086e8a4e143b8e20461cf9911a2c540e7f82",
    ),
    "language": (
        "bc458b0f6eaf74dcae733f358d20287bc85301a4cfef759df28630f9794d40a3",
        "f3d948e5c8f191317409359578c8792b1505ba7f805d5f7a328a4b9ac4f5b834",
        "53e6a9840b43ed78108a62c30288d445fdaded82abfd64bd07adbb2746aea843",
        "b010c8b47a3c8adaffb102a65e7842571cc1a2c95753c3a45df0df370aaf2ed6",
    ),
    "language_spanish": (
        "dcf49e50784a9fe3d23807063ee92f27aa4338f36204925cb19a25e74a0bf621",
        "99a791cd2320dd3144dd7eccca7c277f2ebcf5d3e697240ee7e10a27e2de1a62",
        "614257a7a4c81738eaf9119a79e68aee5e1a0f4d5692c9b3a0058227a3b4285c",
        "6dae762a9697cee69447961c0c3322f1c2c0df7e6fb628183ccd83fe6f9d8e47",
    ),
    "refusal": (
        "4ae3551e3881c9e808e7844387e3b58ee96cfe71ce1277684efa6925cf0cb15c",
        "f94bed86863e03382e58103dbcc87f79033f81eef25e83e15c7bf3927b5d767b",
        "3c2f18f79ea552c0df8e642de38724f3642a4870c0c1a77882af5bb00f2616e7",
        "dc73718bfbfb62b618268c407d1edd9195272378c7d342f300ec83483a25b38b",
    ),
    "sycophancy": (
        "5a08f18e7893c0e1fe811e70cd6e6be534315cf71e87768c64df48e7572164e3",
        "05bc116ff9995d1fcd3fa4dec9f6dfe8bf92d339b557d2575499040cb2667251",
        "f65f54b8f04796d3b4c6ba3473fe4438f595793a8b886952df3b06dfd5aa5aef",
        "af11f77977ece6bc1518c5d337aa481312ef72c6f7d836b728f083fb1c798190",
    ),
    "stories_dialogue": (
        "77dc632ea00b814ce97de87528efe8e3dff051a0ca71aa38bd061168e20d9906",
        "84a66c5c705dedd5c664468dd565f3d17672014b6d9e8f3fa0462f4cf6b59a81",
        "8454c5fdc9c601609c089e97341706ec0ee61e2b96118c18273b2035ef4e43bf",
        "a39490876ec3d6fe1f5d0fd576ad41e16c37fe1cfe95e78314ca5d04d71825a3",
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_fingerprints_stay_what_ledgers_hold(name):
    behavior = load_behavior(EXAMPLE if name == "stories_dialogue" else name)
    splits = behavior.split_fingerprints
    found = (behavior.fingerprint, splits["find"], splits["select"], splits["evaluate"])
    assert found == RECORDED[name]


def test_every_shipped_behavior_is_recorded():
    assert set(known_behaviors()) <= set(RECORDED)
