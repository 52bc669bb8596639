#!/bin/sh
# The PAW dataset of tin with four valence electrons (4d in the core) that campaign.yaml names, made by GPAW in a minute.
exec gpaw dataset Sn -f PBE -P 5s,s,5p,p,d,F -r 2.5 -t 4 -w
