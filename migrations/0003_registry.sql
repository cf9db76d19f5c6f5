-- Up Migration

ALTER TABLE jobs DROP CONSTRAINT jobs_kind_check, ADD CONSTRAINT jobs_kind_check
  CHECK (kind IN ('create_dataset', 'verify_dataset', 'unpack_dataset', 'import_public_dataset'));

-- The public registry ------------------------------------------------------------------
-- An entry is one form in which a dataset was published: a set of files. A dataset equals it when its files have the
-- published SHA-256, size and names, or when its manifest hashes to official_hash (of the published files) or to
-- unpacked_hash (of what the recipe makes of them), which the service computed itself from such files.
ALTER TABLE public_datasets
  ALTER COLUMN official_hash DROP NOT NULL,
  ADD COLUMN unpacked_hash bytea CHECK (length(unpacked_hash) = 32),
  ADD COLUMN recipe text CHECK (recipe IN ('tar', 'gzip', 'idx')), -- see docs/registry.md
  ADD CHECK (unpacked_hash IS NULL OR recipe IS NOT NULL),
  ADD CHECK (name ~ '^[A-Za-z0-9]([A-Za-z0-9 ._+-]{0,126}[A-Za-z0-9])?$'),
  ADD CHECK (version ~ '^[A-Za-z0-9]([A-Za-z0-9._+-]{0,62}[A-Za-z0-9])?$');
CREATE INDEX ON public_datasets (unpacked_hash);

CREATE TABLE public_files (
  public_dataset_id uuid NOT NULL REFERENCES public_datasets ON DELETE CASCADE,
  path text COLLATE "C" NOT NULL CHECK (octet_length(path) BETWEEN 1 AND 1024),
  sha256 bytea CHECK (length(sha256) = 32),
  md5 bytea CHECK (length(md5) = 16), -- for people: MD5 proves nothing, so nothing is ever matched by it
  size_bytes bigint CHECK (size_bytes >= 0), -- null where nobody published it
  url text,
  source text NOT NULL, -- who published the hashes
  unpacked boolean NOT NULL, -- lies within another file of the entry
  PRIMARY KEY (public_dataset_id, path),
  CHECK (sha256 IS NOT NULL OR md5 IS NOT NULL)
);
CREATE INDEX ON public_files (sha256);

-- A cached copy of an entry is open to every user, as if it were shared with them to read and stream.
CREATE FUNCTION is_public_copy(dataset uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT FROM public_datasets WHERE cached_dataset_id = dataset)
$$;

-- What was published, as torchvision 0.29.1, tensorflow-datasets, Keras and scikit-learn 1.9.1 list it in their sources.
-- Licences stand where the publisher states one.
INSERT INTO public_datasets (name, version, official_url, license, verified_by, recipe) VALUES
  ('MNIST', 'idx', 'https://yann.lecun.com/exdb/mnist/', NULL, '{torchvision,tensorflow-datasets}', 'idx'),
  ('MNIST', 'npz', 'https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz', NULL, '{keras}', NULL),
  ('Fashion-MNIST', 'idx', 'https://github.com/zalandoresearch/fashion-mnist', 'MIT', '{torchvision,tensorflow-datasets}', 'idx'),
  ('CIFAR-10', 'python', 'https://www.cs.toronto.edu/~kriz/cifar.html', NULL, '{torchvision,keras}', 'tar'),
  ('CIFAR-10', 'binary', 'https://www.cs.toronto.edu/~kriz/cifar.html', NULL, '{tensorflow-datasets}', 'tar'),
  ('CIFAR-100', 'python', 'https://www.cs.toronto.edu/~kriz/cifar.html', NULL, '{torchvision,keras}', 'tar'),
  ('CIFAR-100', 'binary', 'https://www.cs.toronto.edu/~kriz/cifar.html', NULL, '{tensorflow-datasets}', 'tar'),
  ('SVHN', 'cropped', 'http://ufldl.stanford.edu/housenumbers/', NULL, '{torchvision,tensorflow-datasets}', NULL),
  ('SVHN', 'cropped-with-extra', 'http://ufldl.stanford.edu/housenumbers/', NULL, '{torchvision,tensorflow-datasets}', NULL),
  ('STL-10', 'binary', 'https://cs.stanford.edu/~acoates/stl10/', NULL, '{torchvision,tensorflow-datasets}', 'tar'),
  ('ImageNet 2012', 'train', 'https://www.image-net.org/challenges/LSVRC/2012/', NULL, '{torchvision,tensorflow-datasets}', NULL),
  ('ImageNet 2012', 'validation', 'https://www.image-net.org/challenges/LSVRC/2012/', NULL, '{torchvision,tensorflow-datasets}', 'tar'),
  ('ImageNet 2012', 'devkit', 'https://www.image-net.org/challenges/LSVRC/2012/', NULL, '{torchvision,tensorflow-datasets}', 'tar'),
  ('ImageNet 2012', 'test', 'https://www.image-net.org/challenges/LSVRC/2012/', NULL, '{torchvision,tensorflow-datasets}', 'tar'),
  ('Optical Digits', 'scikit-learn', 'https://doi.org/10.24432/C50P49', 'CC BY 4.0', '{scikit-learn}', 'gzip');

INSERT INTO public_files (public_dataset_id, path, sha256, md5, size_bytes, url, source, unpacked)
SELECT p.id, f.path, f.sha256::bytea, f.md5::bytea, f.size_bytes::int8, f.url, f.source, f.unpacked FROM (VALUES
  ('MNIST', 'idx', 'train-images-idx3-ubyte.gz', '\x440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609', '\xf68b3c2dcbeaaa9fbdd348bbdeb94873', 9912422, 'https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz',
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('MNIST', 'idx', 'train-labels-idx1-ubyte.gz', '\x3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c', '\xd53e105ee54ea40749a09fcbcd1e9432', 28881, 'https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz',
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('MNIST', 'idx', 't10k-images-idx3-ubyte.gz', '\x8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6', '\x9fb629c4189551a2d022fa330f9573f3', 1648877, 'https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz',
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('MNIST', 'idx', 't10k-labels-idx1-ubyte.gz', '\xf7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6', '\xec29112dd5afa0611ce80d1b7f02629c', 4542, 'https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz',
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('MNIST', 'npz', 'mnist.npz', '\x731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1', NULL, NULL, 'https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz',
    'Keras', false),
  ('Fashion-MNIST', 'idx', 'train-images-idx3-ubyte.gz', '\x3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84', '\x8d4fb7e6c68d591d4c3dfef9ec88bf0d', 26421880, 'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz',
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('Fashion-MNIST', 'idx', 'train-labels-idx1-ubyte.gz', '\xa04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845', '\x25c81989df183df01b3e8a0aad5dffbe', 29515, 'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz',
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('Fashion-MNIST', 'idx', 't10k-images-idx3-ubyte.gz', '\x346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073', '\xbef4ecab320f06d8554ea6380940ec79', 4422102, 'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz',
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('Fashion-MNIST', 'idx', 't10k-labels-idx1-ubyte.gz', '\x67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5', '\xbb300cfdad3c16e7a12a480ee83cd310', 5148, 'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz',
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('CIFAR-10', 'python', 'cifar-10-python.tar.gz', '\x6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce', '\xc58f30108f718f92721af3b95e74349a', NULL, 'https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz',
    'torchvision 0.29.1, Keras', false),
  ('CIFAR-10', 'python', 'cifar-10-batches-py/data_batch_1', NULL, '\xc99cafc152244af753f735de768cd75f', NULL, NULL,
    'torchvision 0.29.1', true),
  ('CIFAR-10', 'python', 'cifar-10-batches-py/data_batch_2', NULL, '\xd4bba439e000b95fd0a9bffe97cbabec', NULL, NULL,
    'torchvision 0.29.1', true),
  ('CIFAR-10', 'python', 'cifar-10-batches-py/data_batch_3', NULL, '\x54ebc095f3ab1f0389bbae665268c751', NULL, NULL,
    'torchvision 0.29.1', true),
  ('CIFAR-10', 'python', 'cifar-10-batches-py/data_batch_4', NULL, '\x634d18415352ddfa80567beed471001a', NULL, NULL,
    'torchvision 0.29.1', true),
  ('CIFAR-10', 'python', 'cifar-10-batches-py/data_batch_5', NULL, '\x482c414d41f54cd18b22e5b47cb7c3cb', NULL, NULL,
    'torchvision 0.29.1', true),
  ('CIFAR-10', 'python', 'cifar-10-batches-py/test_batch', NULL, '\x40351d587109b95175f43aff81a1287e', NULL, NULL,
    'torchvision 0.29.1', true),
  ('CIFAR-10', 'python', 'cifar-10-batches-py/batches.meta', NULL, '\x5ff9c542aee3614f3951f8cda6e48888', NULL, NULL,
    'torchvision 0.29.1', true),
  ('CIFAR-10', 'binary', 'cifar-10-binary.tar.gz', '\xc4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd', NULL, 170052171, 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
    'tensorflow-datasets', false),
  ('CIFAR-100', 'python', 'cifar-100-python.tar.gz', '\x85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7', '\xeb9058c3a382ffc7106e4002c42a8d85', NULL, 'https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz',
    'torchvision 0.29.1, Keras', false),
  ('CIFAR-100', 'python', 'cifar-100-python/train', NULL, '\x16019d7e3df5f24257cddd939b257f8d', NULL, NULL,
    'torchvision 0.29.1', true),
  ('CIFAR-100', 'python', 'cifar-100-python/test', NULL, '\xf0ef6b0ae62326f3e7ffdfab6717acfc', NULL, NULL,
    'torchvision 0.29.1', true),
  ('CIFAR-100', 'python', 'cifar-100-python/meta', NULL, '\x7973b15100ade9c7d40fb424638fde48', NULL, NULL,
    'torchvision 0.29.1', true),
  ('CIFAR-100', 'binary', 'cifar-100-binary.tar.gz', '\x58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec', NULL, 168513733, 'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
    'tensorflow-datasets', false),
  ('SVHN', 'cropped', 'train_32x32.mat', '\x435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8', '\xe26dedcc434d2e4c54c9b2d4a06d8373', 182040794, 'http://ufldl.stanford.edu/housenumbers/train_32x32.mat',
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('SVHN', 'cropped', 'test_32x32.mat', '\xcdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b', '\xeb5a983be6a315427106f1b164d9cef3', 64275384, 'http://ufldl.stanford.edu/housenumbers/test_32x32.mat',
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('SVHN', 'cropped-with-extra', 'train_32x32.mat', '\x435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8', '\xe26dedcc434d2e4c54c9b2d4a06d8373', 182040794, 'http://ufldl.stanford.edu/housenumbers/train_32x32.mat',
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('SVHN', 'cropped-with-extra', 'test_32x32.mat', '\xcdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b', '\xeb5a983be6a315427106f1b164d9cef3', 64275384, 'http://ufldl.stanford.edu/housenumbers/test_32x32.mat',
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('SVHN', 'cropped-with-extra', 'extra_32x32.mat', '\xa133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3', '\xa93ce644f1a588dc4d68dda5feec44a7', 1329278602, 'http://ufldl.stanford.edu/housenumbers/extra_32x32.mat',
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('STL-10', 'binary', 'stl10_binary.tar.gz', '\xf31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866', '\x91f7769df0f17e558f3565bffb0c7dfb', 2640397119, 'http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz',
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('STL-10', 'binary', 'stl10_binary/train_X.bin', NULL, '\x918c2871b30a85fa023e0c44e0bee87f', NULL, NULL,
    'torchvision 0.29.1', true),
  ('STL-10', 'binary', 'stl10_binary/train_y.bin', NULL, '\x5a34089d4802c674881badbb80307741', NULL, NULL,
    'torchvision 0.29.1', true),
  ('STL-10', 'binary', 'stl10_binary/unlabeled_X.bin', NULL, '\x5242ba1fed5e4be9e1e742405eb56ca4', NULL, NULL,
    'torchvision 0.29.1', true),
  ('STL-10', 'binary', 'stl10_binary/test_X.bin', NULL, '\x7f263ba9f9e0b06b93213547f721ac82', NULL, NULL,
    'torchvision 0.29.1', true),
  ('STL-10', 'binary', 'stl10_binary/test_y.bin', NULL, '\x36f9794fa4beb8a2c72628de14fa638e', NULL, NULL,
    'torchvision 0.29.1', true),
  ('ImageNet 2012', 'train', 'ILSVRC2012_img_train.tar', '\xb08200a27a8e34218a0e58fde36b0fe8f73bc377f4acea2d91602057c3ca45bb', '\x1d675b47d978889d74fa0da5fadfb00e', 147897477120, NULL,
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('ImageNet 2012', 'validation', 'ILSVRC2012_img_val.tar', '\xc7e06a6c0baccf06d8dbeb6577d71efff84673a5dbdd50633ab44f8ea0456ae0', '\x29b22e2961454d5413ddabcf34fc5622', 6744924160, NULL,
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('ImageNet 2012', 'devkit', 'ILSVRC2012_devkit_t12.tar.gz', '\xb59243268c0d266621fd587d2018f69e906fb22875aca0e295b48cafaa927953', '\xfa75699e90414af021442c21a62c3abf', NULL, NULL,
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('ImageNet 2012', 'test', 'ILSVRC2012_img_test_v10102019.tar', '\x9cf7f8249639510f17d3d8a0deb47cd22a435886ba8e29e2b3223e65a4079eb4', NULL, NULL, NULL,
    'torchvision 0.29.1, tensorflow-datasets', false),
  ('Optical Digits', 'scikit-learn', 'digits.csv.gz', '\x09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22', NULL, 57523, 'https://github.com/scikit-learn/scikit-learn/raw/1.9.1/sklearn/datasets/data/digits.csv.gz',
    'scikit-learn 1.9.1', false)
) AS f (name, version, path, sha256, md5, size_bytes, url, source, unpacked)
JOIN public_datasets p ON p.name = f.name AND p.version = f.version;

-- Down Migration

DROP FUNCTION is_public_copy;
DELETE FROM dataset_evidence WHERE kind = 'registry';
DROP TABLE public_files;
DELETE FROM public_datasets WHERE official_hash IS NULL;
ALTER TABLE public_datasets
  DROP CONSTRAINT public_datasets_name_check, DROP CONSTRAINT public_datasets_version_check,
  DROP COLUMN unpacked_hash, DROP COLUMN recipe,
  ALTER COLUMN official_hash SET NOT NULL;
DELETE FROM jobs WHERE kind NOT IN ('create_dataset', 'verify_dataset');
ALTER TABLE jobs DROP CONSTRAINT jobs_kind_check, ADD CONSTRAINT jobs_kind_check
  CHECK (kind IN ('create_dataset', 'verify_dataset'));
