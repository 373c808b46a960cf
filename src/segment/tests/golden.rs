//! Objects written by the first version stay readable: their bytes are fixed here.

use super::*;

/// The key of [`ENCRYPTED`]; it protects nothing else.
const TEST_KEY: &str = "AGE-SECRET-KEY-1HS30FXRL9R20RLRYS6ZN2R5MAHJFGJZKE8TSTFZWX67MKX7QQW7QHEHVLY";

/// SHA-256 of the tail of both: re-keying and dropping encryption leave it as it is.
const TAIL_SHA256: &str = "7198291f76c36aa278730b3820045b7b7cc3588edbb2c646bf7d7c710425b4b9";

const PLAIN: &str = "28b52ffd64000ff50300a40200000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324\
    252627282910003c09480fa40ca402d2032903a980f440ca402a203d9032900a480fa40ca402d2032903a980f440ca402a20\
    3d9032900a480fa40ca402d2032903a980f440ca402a203d9032900a480fa40ca4e2272cf9ae7cc428b52ffd648802ed0000\
    6828282828292a2b2c2d2e2f30310914002a40c00106041c6040c0055a3b429e395d2a4d18cc000000424c46540100010001\
    0040000000c3b5e8d4e5f489eafeeccebf4cfc2a91fe0696ffa238d3117d93d47e645151059d5b3f1fe80497c6a402502137\
    5efc5f09d72a4f6dad417001c95912fcdb63e5020000007600000028b52ffd249d4d0300c2c6151990376d16496b448809c1\
    c7956fcfd47f0c9b55914663ec8a120db226053b366a52968052705ef09625d21ef8a883a45fc861d7bb17d2fc76be6cc3eb\
    18851d95ecd73900fb217c1981c28e363b79d399c3ce8d72d39905003d3d3015098bceaf0a81fb01ca149db0e85e2a4d1821\
    0000008c000000001000002b00000088030000d4000000000000000300000000b1ea928f";

const ENCRYPTED: &str = "6167652d656e6372797074696f6e2e6f72672f76310a2d3e20583235353139206a374b2b71436555664b4c4973556b63616c\
    2b706446526f74684e315a665034712b5834583544756d77450a576c2b72794873654b6e6b5244566e557770356e71564e76\
    503857536b65644b7563697a3330704d4361510a2d2d2d20316464327a594f42325578534f524865786c516a2f4c36756138\
    454f504d5243344335355139544a5a79730a51c7c38b03623e68de15ab04d303c41c3e366ec2b2813fc655fa8572a42e941f\
    1fb880246d62e856bbd8ea2f8bc310ec17ba336b3e826f7a70c8e94da523880ea62c87aae80476c1f794e75603872cfc7215\
    df161d7cc09073ccc26d1271031d8a3301c7dc55def30a5f9af6cb8b164d76d59e4af86150e4e18ebb0d785ffda31931d846\
    9e08198f1baf70543abe89e97c55db9062e4161d011330373f9e0e8eb2f9405ec8dd5e3308ca8903c31543332bfa7d7a2706\
    ef606916035c61c6640866e4ab7e01d209262d8aff9d7e4cafb6cbc7358af6586b24eb05fe492acd65c15aa7a19b583143e9\
    ec1783c2ddbb58f3d6ef9c5eab3245bddb44ea55fb4e437d7da8ebbb42cb4512aa3053e38535ebc3ae122e12b389cce894f7\
    428365c9a7188a98f91e888aabacde660d69ab72c5203d241e6e49eb3cda8519c1ca0b13ccce2b1ca6f1234583b0848bde0f\
    99a575fee1f36c38ac52c908a713269d926fb0835c700fa0bd6ee07bdb1cb0568c2a5d291792ea4cf1528580f72a321bec8d\
    26ba14447ab88a973b2c3d8c411e738f26b604004f4a6be2fe91c4f3d0779967752791286d140fc99423f879af8e8e1f5363\
    7b390fc4b1c5c04f552e1e33c7c039e6acc43e46d067b33732d151a9f855393a739957f8";

fn golden(hex: &str, header_size: u64) -> Object {
    let bytes = hex::decode(hex).expect("hexadecimal");
    let facts = ObjectFacts {
        size: bytes.len() as u64,
        crc32c: crc_fast::crc32_iscsi(&bytes),
        crc64nvme: crc_fast::crc64_nvme(&bytes),
        header_size,
        frame_size: 4096,
        tail_offset: 183,
        tail_sha256: TAIL_SHA256.parse().expect("a digest"),
        plain_size: 5000,
    };
    Object { bytes, facts }
}

#[test]
fn objects_of_version_1_stay_readable() {
    let identities = Identities::parse("test", TEST_KEY).expect("a key");
    let plain: Vec<u8> = (0..5000).map(|n| (n / 100) as u8).collect();
    for object in [golden(PLAIN, 0), golden(ENCRYPTED, 184)] {
        assert_eq!(object.read_all(Some(&identities)).expect("reads"), plain);
        let segment = object.open(Some(&identities)).expect("opens");
        assert_eq!(segment.index().expect("an index"), index());
    }
}
