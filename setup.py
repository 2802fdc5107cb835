# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from setuptools import find_packages, setup

package_name = 'mtl_perception'
share = f'share/{package_name}'


def files(folder):
    return [str(path) for path in sorted(Path(folder).iterdir()) if path.is_file()]


setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(include=[package_name, f'{package_name}.*']),
    package_data={package_name: ['py.typed']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{package_name}']),
        (share, ['package.xml']),
        (f'{share}/launch', files('launch')),
        (f'{share}/config', files('config')),
        (f'{share}/checkpoints', files('checkpoints')),
    ],
    python_requires='>=3.10',
    install_requires=['setuptools'],
    zip_safe=True,
    maintainer='mtl_perception maintainers',
    maintainer_email='maintainers@mtl-perception.invalid',
    description='Semantic labels, instances and metric depth from one forward pass.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'mtl_node = mtl_perception.ros.node:main',
            'mtl = mtl_perception.commands:main',
        ],
    },
)
