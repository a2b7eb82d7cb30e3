"""The model of Jeong et al. 2024 (doi:10.1016/j.xjidi.2024.100285): five patches, VGG16 and an ordinal head."""
