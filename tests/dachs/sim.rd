<resource schema="sim">
  <!-- The simulated sky as a DaCHS archive: SIA2 and ObsTAP of the whole site, datalink and SODA of this resource. -->
  <meta name="title">A simulated sky</meta>
  <meta name="description">Mosaics made by astroanomaly.simulate: no real sky.</meta>
  <meta name="creationDate">2026-01-01T00:00:00Z</meta>
  <meta name="subject">virtual-observatories</meta>
  <meta name="creator.name">The AstroAnomaly developers</meta>

  <table id="images" onDisk="True" adql="True">
    <mixin>//siap#pgs</mixin>
    <mixin
      calib_level="3"
      obs_collection="'SIM'"
      instrument_name="instId"
      t_exptime="100"
      s_pixel_scale="pixelScale[1]*3600"
      s_xel1="pixelSize[1]"
      s_xel2="pixelSize[2]"
      access_url="datalink_url"
      access_format="'application/x-votable+xml;content=datalink'">//obscore#publishSIAP</mixin>
    <column name="datalink_url" type="text" ucd="meta.ref.url" tablehead="Links" description="Datalink of the image"/>
  </table>

  <data id="import">
    <sources pattern="data/*.fits"/>
    <fitsProdGrammar>
      <rowfilter procDef="//products#define">
        <bind key="table">"\schema.images"</bind>
      </rowfilter>
    </fitsProdGrammar>
    <make table="images">
      <rowmaker>
        <map key="datalink_url">\dlMetaURI{dl}</map>
        <apply procDef="//siap#computePGS"/>
        <apply procDef="//siap#setMeta">
          <bind key="title">\srcstem</bind>
          <bind key="instrument">"SimCam-"+@FILTER</bind>
          <bind key="bandpassId">@FILTER</bind>
          <bind key="bandpassUnit">"m"</bind>
          <bind key="bandpassLo">{"g": 400e-9, "r": 550e-9, "i": 690e-9}[@FILTER]</bind>
          <bind key="bandpassHi">{"g": 550e-9, "r": 690e-9, "i": 850e-9}[@FILTER]</bind>
          <bind key="pixflags">"C"</bind>
        </apply>
      </rowmaker>
    </make>
  </data>

  <service id="dl" allowed="dlget,dlmeta">
    <meta name="title">Links and cutouts of the simulated sky</meta>
    <datalinkCore>
      <descriptorGenerator procDef="//soda#fits_genDesc"/>
      <FEED source="//soda#fits_standardDLFuncs"/>
    </datalinkCore>
  </service>
</resource>
